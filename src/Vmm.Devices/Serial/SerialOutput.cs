using System.IO.Pipelines;

namespace Vmm.Devices.Serial;

/// <summary>
/// The named worker that carries a port's output from the vCPU thread to a pipe. The vCPU never waits and never allocates:
/// it puts a byte into a ring; a thread-pool work item empties the ring into the pipe and waits there for a slow reader.
/// </summary>
internal sealed class SerialOutput : IThreadPoolWorkItem
{
    /// <summary>Bytes that may be on their way to a reader who does not read, beside what the pipe itself holds.</summary>
    public const int Capacity = 64 << 10;

    private readonly Lock _lock = new();
    private readonly byte[] _ring = new byte[Capacity];
    private readonly PipeWriter _writer;
    private readonly Action _roomAgain;
    private int _first;
    private int _count;
    private bool _working;
    private bool _starved;
    private bool _closing;
    private bool _closed;
    private long _undelivered;

    /// <param name="writer">Where the bytes go; completed by <see cref="Close"/>.</param>
    /// <param name="roomAgain">Called on a worker thread when bytes are taken again after <see cref="TrySend(byte)"/> refused one.</param>
    public SerialOutput(PipeWriter writer, Action roomAgain) => (_writer, _roomAgain) = (writer, roomAgain);

    /// <summary>Bytes that were dropped because nobody is at the other end any more.</summary>
    public long Undelivered => Volatile.Read(ref _undelivered);

    /// <summary>Takes a byte, or refuses it because the reader is too slow.</summary>
    public bool TrySend(byte value)
    {
        lock (_lock)
        {
            if (_closed || _closing)
            {
                _undelivered++;
                return true;
            }

            if (_count == Capacity)
            {
                _starved = true;
                return false;
            }

            _ring[(_first + _count++) % Capacity] = value;
            if (_working) return true;
            _working = true;
        }

        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
        return true;
    }

    /// <summary>How many bytes <see cref="TrySend(ReadOnlySpan{byte})"/> would take now; all, when nobody is at the other end.</summary>
    public int Room
    {
        get
        {
            lock (_lock)
            {
                if (_closed || _closing) return int.MaxValue;
                _starved |= _count == Capacity;
                return Capacity - _count;
            }
        }
    }

    /// <summary>Takes bytes, all or none.</summary>
    public bool TrySend(ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            if (_closed || _closing)
            {
                _undelivered += bytes.Length;
                return true;
            }

            if (bytes.Length > Capacity - _count)
            {
                _starved = true;
                return false;
            }

            var at = (_first + _count) % Capacity;
            var toEnd = Math.Min(bytes.Length, Capacity - at);
            bytes[..toEnd].CopyTo(_ring.AsSpan(at));
            bytes[toEnd..].CopyTo(_ring);
            _count += bytes.Length;
            if (_working || bytes.IsEmpty) return true;
            _working = true;
        }

        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
        return true;
    }

    /// <summary>Takes no more bytes; those taken are still written, then the pipe is completed. Does not wait.</summary>
    public void Close()
    {
        lock (_lock)
        {
            if (_closing) return;
            _closing = true;
            if (_working) return;
            _working = true;
        }

        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    void IThreadPoolWorkItem.Execute() => _ = DrainAsync();

    private async Task DrainAsync()
    {
        var end = false;
        Exception? failure = null;
        try
        {
            while (TakeInto(_writer, out end))
            {
                var flushed = await _writer.FlushAsync().ConfigureAwait(false);
                if (WakesGuest()) _roomAgain();
                if (!flushed.IsCompleted) continue;
                end = true;
                break;
            }
        }
        catch (Exception e)
        {
            // The reader's end broke: for the guest the cable is pulled, the machine goes on.
            (end, failure) = (true, e);
        }

        if (!end) return;
        lock (_lock)
        {
            _closed = true;
            _undelivered += _count;
            _count = 0;
        }

        if (WakesGuest()) _roomAgain();
        await _writer.CompleteAsync(failure).ConfigureAwait(false);
    }

    private bool TakeInto(PipeWriter writer, out bool end)
    {
        lock (_lock)
        {
            end = _count == 0 && _closing;
            if (_count == 0)
            {
                // A closing port stays "working", so that nobody else completes the pipe.
                _working = end;
                return false;
            }

            var span = writer.GetSpan(1);
            var count = Math.Min(Math.Min(span.Length, _count), Capacity - _first);
            _ring.AsSpan(_first, count).CopyTo(span);
            _first = (_first + count) % Capacity;
            _count -= count;
            writer.Advance(count);
            return true;
        }
    }

    private bool WakesGuest()
    {
        lock (_lock)
        {
            if (!_starved || _count > Capacity / 2) return false;
            _starved = false;
            return true;
        }
    }
}
