namespace Vmm.Core.Time;

/// <summary>The portable <see cref="AlarmSignal"/>: time-outs are rounded up to milliseconds, so that a waiter never spins.</summary>
internal sealed class MillisecondSignal : AlarmSignal
{
    private readonly AutoResetEvent _event = new(false);

    public override void Set()
    {
        try
        {
            _event.Set();
        }
        catch (ObjectDisposedException)
        {
            // A late set on a machine that is gone.
        }
    }

    public override void Reset()
    {
        try
        {
            _event.Reset();
        }
        catch (ObjectDisposedException)
        {
            // As above.
        }
    }

    public override void Wait(long nanoseconds)
    {
        if (nanoseconds <= 0) return;
        var milliseconds = nanoseconds == long.MaxValue ? Timeout.Infinite : (int)Math.Min((nanoseconds - 1) / 1_000_000 + 1, int.MaxValue);
        try
        {
            _event.WaitOne(milliseconds);
        }
        catch (ObjectDisposedException)
        {
            // As above.
        }
    }

    public override void Dispose() => _event.Dispose();
}
