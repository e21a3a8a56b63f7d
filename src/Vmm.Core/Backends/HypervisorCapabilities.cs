namespace Vmm.Core.Backends;

/// <summary>What a backend can do on this host, as values to ask before using them.</summary>
[Flags]
public enum HypervisorCapabilities
{
    /// <summary>Only what every backend has.</summary>
    None = 0,

    /// <summary>Logs which pages the guest wrote.</summary>
    DirtyLog = 1 << 0,

    /// <summary>Stops after one guest instruction.</summary>
    SingleStep = 1 << 1,

    /// <summary>Stops at debug-register breakpoints set by the host.</summary>
    HardwareBreakpoints = 1 << 2,

    /// <summary>Counts retired guest instructions exactly.</summary>
    InstructionCount = 1 << 3,

    /// <summary>Runs on the machine's own clock, so that guest time can be counted in instructions.</summary>
    VirtualTime = 1 << 4,

    /// <summary>Emulates local APIC timers and inter-processor interrupts.</summary>
    LocalApic = 1 << 5,

    /// <summary>Runs kernel-mode guest code of every kind (a stock Linux kernel boots).</summary>
    FullSystem = 1 << 6,

    /// <summary>Stops at INT3 instructions that the host has put into guest memory.</summary>
    SoftwareBreakpoints = 1 << 7,

    /// <summary>
    /// A halted vCPU waits for its interrupt inside <see cref="IVcpu.Run"/>, which then never returns <see cref="VcpuStopKind.Halted"/>: its
    /// local APIC is the host's, which alone sees the interrupt come. A kick ends the wait as it ends everything else.
    /// </summary>
    HaltsInside = 1 << 8,
}
