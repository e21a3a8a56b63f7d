namespace Vmm.Core.Time;

/// <summary>
/// A one-shot alarm on a machine's clock. Arm and disarm it under the device's lock; the callback runs under the same
/// lock, and never after a <see cref="Disarm"/> or a new <see cref="Arm"/> made under that lock.
/// </summary>
public sealed class VmTimer
{
    private readonly VmClock _clock;
    private readonly object _gate;
    private readonly Action _callback;

    internal VmTimer(VmClock clock, object gate, Action callback) => (_clock, _gate, _callback) = (clock, gate, callback);

    /// <summary>The lock held around the callback.</summary>
    internal object Gate => _gate;

    /// <summary>The clock value, in nanoseconds, at which it fires; <see cref="long.MaxValue"/> when disarmed.</summary>
    public long Deadline { get; internal set; } = long.MaxValue;

    /// <summary>Sets the alarm, in place of one that was set. A deadline in the past fires at once.</summary>
    /// <param name="deadline">Nanoseconds on <see cref="VmClock.Now"/>.</param>
    public void Arm(long deadline) => _clock.Set(this, deadline);

    /// <summary>Takes the alarm back.</summary>
    public void Disarm()
    {
        if (Deadline != long.MaxValue) _clock.Set(this, long.MaxValue);
    }

    /// <summary>Runs the callback if the deadline has passed. The clock calls it without holding its own lock.</summary>
    internal void FireIfDue(long now)
    {
        lock (_gate)
        {
            if (Deadline > now) return;
            _clock.Set(this, long.MaxValue);
            _callback();
        }
    }
}
