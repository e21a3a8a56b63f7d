using Vmm.Core.Time;

namespace Vmm.Core.State;

/// <summary>The clock as a unit of state. Timers belong to devices, which save their deadlines and arm them again.</summary>
/// <param name="clock">A clock that stands.</param>
internal sealed class ClockUnit(VmClock clock) : IStateful
{
    private long _now;

    public void VisitState(StateVisitor visitor)
    {
        _now = clock.Now;
        visitor.Field(1, ref _now);
    }

    public void OnStateLoaded()
    {
        ArgumentOutOfRangeException.ThrowIfNegative(_now);
        clock.SetTo(_now);
    }
}
