using Vmm.Backends.Software.Translate;

namespace Vmm.Backends.Software.Cpu;

/// <summary>
/// The time-stamp counter. It is the machine's clock; translated code of a machine with one processor, whose kernel may ask for it at every
/// system call, adds the host's counter to what the clock last said, for some microseconds and at a rate that is measured and then
/// taken a little too small: so what it tells is never ahead of the clock.
/// </summary>
internal sealed partial class Vcpu
{
    /// <summary>Ticks of the host's counter after which the clock is asked again.</summary>
    private const ulong TimeWindow = 1 << 17;

    /// <summary>Nanoseconds over which the rate of the host's counter is measured.</summary>
    private const long RateTime = 100_000_000;

    private long _tscOffset;
    private bool _told;
    private ulong _rateTicks, _rateValue;

    /// <summary>The time-stamp counter.</summary>
    public ulong Tsc
    {
        get
        {
            var now = (ulong)(Partition.Clock.Now + _tscOffset);
            ref var t = ref S.Translator;
            // Who is told this must not be told less by translated code afterwards.
            t.TimeLimit = 0;
            // The clock may have stood still just now.
            return _told && (long)(now - t.TimeLast) < 0 ? t.TimeLast : now;
        }
    }

    /// <summary>The offset of the guest's TSC from the machine's clock, in ticks.</summary>
    public long TscOffset
    {
        get => _tscOffset;
        private set
        {
            _tscOffset = value;
            S.Translator.TimeLimit = 0;
            (_told, _rateTicks) = (false, 0);
        }
    }

    /// <summary>For translated code, which reads the host's counter just after this.</summary>
    public ulong ReadTime()
    {
        var value = Tsc;
        // Processors must not see each other's go back.
        if (!Partition.Single || !HostFeatures.HasSteadyCounter) return value;
        ref var t = ref S.Translator;
        var (ticks, time) = (t.TimeBase - _rateTicks, (long)(t.TimeValue - _rateValue));
        if (_rateTicks == 0 || time < 0 || (long)ticks <= 0)
        {
            (_rateTicks, _rateValue, t.TimeScale) = (t.TimeBase, t.TimeValue, 0);
        }
        else if (time > RateTime)
        {
            // With 32 bits behind the point. A rate beyond reason is none.
            var scale = time * (1 - 1.0 / 4096) / ticks * (1UL << 32);
            (_rateTicks, _rateValue, t.TimeScale) = (t.TimeBase, t.TimeValue, scale < 1UL << 40 ? (ulong)scale : 0);
        }

        if (t.TimeScale == 0) return value;
        (t.TimeLimit, t.TimeLast, _told) = (TimeWindow, value, true);
        return value;
    }
}
