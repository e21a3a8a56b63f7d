namespace Vmm.Core.X86;

/// <summary>What a processor is doing (the values are KVM's).</summary>
public enum MpState : uint
{
    /// <summary>Executing instructions.</summary>
    Runnable = 0,

    /// <summary>An application processor that waits for INIT.</summary>
    Uninitialized = 1,

    /// <summary>After INIT, waiting for a start-up IPI.</summary>
    InitReceived = 2,

    /// <summary>In HLT or MWAIT.</summary>
    Halted = 3,
}
