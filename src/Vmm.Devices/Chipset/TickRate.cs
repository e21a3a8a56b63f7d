namespace Vmm.Devices.Chipset;

/// <summary>Converts between nanoseconds and the ticks of an oscillator exactly, without rounding that adds up. Below 1 GHz.</summary>
internal readonly struct TickRate(long hertz)
{
    private const long Second = 1_000_000_000;

    /// <summary>Whole ticks that have passed at a time.</summary>
    public long TicksAt(long nanoseconds) => nanoseconds / Second * hertz + nanoseconds % Second * hertz / Second;

    /// <summary>The first nanosecond at which a number of ticks has passed, so that <c>TicksAt(NanosecondsAt(t)) == t</c>.</summary>
    public long NanosecondsAt(long ticks)
    {
        // Saturates: a garbage tick count from a snapshot means "never", not an overflow into the past.
        if (ticks >= long.MaxValue / Second * hertz) return long.MaxValue;
        return ticks / hertz * Second + (ticks % hertz * Second + hertz - 1) / hertz;
    }
}
