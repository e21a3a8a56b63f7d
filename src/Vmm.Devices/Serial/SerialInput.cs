using System.Buffers;
using System.IO.Pipelines;

namespace Vmm.Devices.Serial;

/// <summary>
/// The named worker that carries input from a pipe to a port. It takes no more out of the pipe than the port has room
/// for, so that a flood stays with its sender: at most <see cref="Capacity"/> bytes are between pipe and FIFO.
/// </summary>
internal sealed class SerialInput
{
    /// <summary>Bytes that may be under way, beside what the pipe itself holds.</summary>
    public const int Capacity = 4096;

    private readonly Lock _lock = new();
    private readonly PipeReader _reader;
    private readonly Action<byte[]> _post;
    private TaskCompletionSource? _waiting;
    private int _underWay;
    private volatile bool _stopping;

    /// <param name="reader">Where the bytes come from; completed when the port is closed or the other end has.</param>
    /// <param name="post">Hands bytes to the port's inlet.</param>
    public SerialInput(PipeReader reader, Action<byte[]> post) => (_reader, _post) = (reader, post);

    public void Start() => _ = Task.Run(PumpAsync);

    /// <summary>Ends the pump, without waiting for it.</summary>
    public void Stop()
    {
        _stopping = true;
        _reader.CancelPendingRead();
        Occupy(-Capacity);
    }

    /// <summary>The port says by how many bytes its buffer has filled (after a load of state) or emptied.</summary>
    public void Occupy(int bytes)
    {
        TaskCompletionSource? waiting;
        lock (_lock)
        {
            _underWay = Math.Max(_underWay + bytes, 0);
            if (_underWay > Capacity / 2) return;
            (waiting, _waiting) = (_waiting, null);
        }

        waiting?.TrySetResult();
    }

    private async Task PumpAsync()
    {
        Exception? failure = null;
        try
        {
            while (!_stopping)
            {
                var room = await WaitForRoomAsync().ConfigureAwait(false);
                var result = await _reader.ReadAsync().ConfigureAwait(false);
                if (_stopping) break;
                var taken = result.Buffer.Slice(0, Math.Min(room, result.Buffer.Length));
                if (!taken.IsEmpty)
                {
                    lock (_lock) _underWay += (int)taken.Length;
                    _post(taken.ToArray());
                }

                _reader.AdvanceTo(taken.End);
                if (result.IsCompleted && taken.IsEmpty) break;
            }
        }
        catch (Exception e)
        {
            // The sender's end broke: nothing more comes in, the machine goes on.
            failure = e;
        }

        await _reader.CompleteAsync(failure).ConfigureAwait(false);
    }

    private async ValueTask<int> WaitForRoomAsync()
    {
        while (true)
        {
            Task wait;
            lock (_lock)
            {
                if (_underWay <= Capacity / 2 || _stopping) return Capacity - Math.Min(_underWay, Capacity - 1);
                _waiting = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                wait = _waiting.Task;
            }

            await wait.ConfigureAwait(false);
        }
    }
}
