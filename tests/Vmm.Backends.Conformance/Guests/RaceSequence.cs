namespace Vmm.Backends.Conformance.Guests;

/// <summary>What a guest does while its machine is paused, resumed, kicked and disposed.</summary>
public enum GuestWork
{
    KernelLoop,
    UserLoop,
    PortExits,
    MmioExits,
    HaltsForEver,
}

/// <summary>One step of a thread that uses the machine.</summary>
public enum RaceStep
{
    Pause,
    Resume,
    Kick,
    PauseCancelled,
    Statistics,
    Yield,
    Progress,
    Kill,
    Dispose,
}

/// <summary>A sequence: what the guest does, on how many vCPUs, and what two threads do to the machine.</summary>
public sealed record RaceSequence(GuestWork Work, int Vcpus, RaceStep[] First, RaceStep[] Second, bool WaitBeforeEnd)
{
    public override string ToString() => $"{Work}, {Vcpus} vCPUs; {string.Join(' ', First)}; {string.Join(' ', Second)}; {(WaitBeforeEnd ? "dispose afterwards" : "dispose meanwhile")}";
}
