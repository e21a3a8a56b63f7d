namespace Vmm.Core.Time;

/// <summary>An auto-reset event with a time-out in nanoseconds.</summary>
internal sealed class AlarmSignal : IDisposable
{
    private readonly AutoResetEvent _event = new(false);

    public void Set()
    {
        try { _event.Set(); }
        catch (ObjectDisposedException) { /* a late arm on a clock that is gone */ }
    }

    /// <summary>Waits for <see cref="Set"/> or the time-out; may return early.</summary>
    public void Wait(long nanoseconds)
    {
        if (nanoseconds == long.MaxValue)
        {
            _event.WaitOne();
            return;
        }

        var milliseconds = (int)Math.Min(nanoseconds / 1_000_000, 60_000);
        if (milliseconds > 0) _event.WaitOne(milliseconds);
        else Thread.SpinWait(20);
    }

    public void Dispose() => _event.Dispose();
}
