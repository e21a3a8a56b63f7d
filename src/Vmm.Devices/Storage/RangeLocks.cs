namespace Vmm.Devices.Storage;

/// <summary>
/// Shared and exclusive locks on ranges, waited for without a thread. A request waits for the earlier ones that it conflicts with, so
/// that none starves. Made for the few hundred requests that are under way in a disk, which it keeps in a list.
/// </summary>
internal sealed class RangeLocks
{
    private readonly Lock _lock = new();
    private Node? _first, _last, _free;

    /// <summary>Takes a lock on a range that is not empty.</summary>
    public ValueTask<Hold> AcquireAsync(long start, long end, bool exclusive)
    {
        lock (_lock)
        {
            var node = _free ?? new Node();
            _free = node.Next;
            (node.Start, node.End, node.IsExclusive, node.Next, node.Previous, node.Blockers) = (start, end, exclusive, null, _last, 0);
            for (var other = _first; other is not null; other = other.Next)
            {
                if (node.ConflictsWith(other)) node.Blockers++;
            }

            if (_last is null) _first = node;
            else _last.Next = node;
            _last = node;
            if (node.Blockers == 0) return new ValueTask<Hold>(new Hold(this, node));
            node.Waiting = new TaskCompletionSource<Hold>(TaskCreationOptions.RunContinuationsAsynchronously);
            return new ValueTask<Hold>(node.Waiting.Task);
        }
    }

    private void Release(Node node)
    {
        lock (_lock)
        {
            for (var later = node.Next; later is not null; later = later.Next)
            {
                if (!later.ConflictsWith(node) || --later.Blockers > 0) continue;
                later.Waiting!.SetResult(new Hold(this, later));
                later.Waiting = null;
            }

            if (node.Previous is null) _first = node.Next;
            else node.Previous.Next = node.Next;
            if (node.Next is null) _last = node.Previous;
            else node.Next.Previous = node.Previous;
            (node.Next, _free) = (_free, node);
        }
    }

    /// <summary>A lock that is held until it is disposed, once.</summary>
    internal readonly struct Hold(RangeLocks locks, Node node) : IDisposable
    {
        public void Dispose() => locks.Release(node);
    }

    internal sealed class Node
    {
        public long Start, End;
        public bool IsExclusive;
        public int Blockers;
        public Node? Next, Previous;
        public TaskCompletionSource<Hold>? Waiting;

        public bool ConflictsWith(Node other) => (IsExclusive || other.IsExclusive) && Start < other.End && other.Start < End;
    }
}
