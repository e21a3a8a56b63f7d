namespace Vmm.Core.Backends;

/// <summary>Why <see cref="IVcpu.Run"/> returned.</summary>
public enum VcpuStopKind
{
    /// <summary>Somebody kicked it.</summary>
    Kicked,

    /// <summary>The guest waits for an interrupt (HLT, MWAIT, or an application processor for INIT/SIPI) and none is pending.</summary>
    Halted,

    /// <summary>A triple fault.</summary>
    Shutdown,

    /// <summary>A single step or a breakpoint set by the host.</summary>
    Debug,

    /// <summary>The host's hypervisor says that the guest asked it to power off.</summary>
    PoweredOff,

    /// <summary>The host's hypervisor says that the guest asked it for a reset.</summary>
    Reset,

    /// <summary>The backend cannot go on; <see cref="VcpuStop.Reason"/> says why.</summary>
    Failed,
}
