namespace Vmm.Core.Backends;

/// <summary>Why a vCPU stopped for its debugger.</summary>
public enum DebugCause
{
    /// <summary>It did not.</summary>
    None,

    /// <summary>One instruction was stepped over.</summary>
    SingleStep,

    /// <summary>A breakpoint in a debug register.</summary>
    HardwareBreakpoint,

    /// <summary>An INT3 in guest memory: the host's own, or the guest's (then the debugger delivers it by <see cref="X86.VcpuState.InjectedVector"/> 3).</summary>
    SoftwareBreakpoint,
}
