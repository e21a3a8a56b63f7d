namespace Vmm.TestSupport.Oracle;

/// <summary>
/// Where everything lies inside the oracle's arena. The arena is below 2 GiB so that the stubs reach their data by absolute
/// 32-bit addresses, which need no register; all of it that is not named here is an inaccessible guard.
/// </summary>
internal readonly record struct OracleLayout(ulong Base)
{
    public const int ArenaBytes = 0x0100_0000, PageBytes = 0x1000;
    public const int CodeBytes = 2 * PageBytes, DataBytes = 2 * PageBytes, AltStackBytes = 0x2_0000;
    private const int ControlOffset = 0x1_0000, StubOffset = 0x2_0000, AltStackOffset = 0x4_0000;
    private const int CodeOffset = 0x40_0000, DataOffset = 0x80_0000;

    public const int ControlBytes = PageBytes;

    public ulong Control => Base + ControlOffset;

    public ulong Stub => Base + StubOffset;

    public ulong AltStack => Base + AltStackOffset;

    public ulong Code => Base + CodeOffset;

    public ulong Data => Base + DataOffset;

    // Fields of the control page.
    public ulong In => Control;

    public ulong Out => Control + OracleState.Size;

    public ulong Record => Control + RecordOffset;

    public ulong Running => Record;

    public ulong Faulted => Record + 4;

    public ulong Signal => Record + 8;

    public ulong SignalCode => Record + 12;

    public ulong FaultRip => Record + 16;

    public ulong FaultRflags => Record + 24;

    public ulong TrapNumber => Record + 32;

    public ulong ErrorCode => Record + 40;

    public ulong Cr2 => Record + 48;

    public ulong HostRsp => Record + 64;

    public ulong HostFcw => Record + 72;

    public ulong HostMxcsr => Record + 76;

    public ulong BlockedSignals => Record + 80;

    public ulong HostSignals => Record + 88;

    public ulong IretFrame => Record + 96;

    public ulong ScratchStackTop => Record + 256;

    /// <summary>A struct kernel_sigaction of zeros (SIG_DFL).</summary>
    public ulong DefaultAction => Record + 256;

    /// <summary>Handlers in force before ours, indexed by signal number.</summary>
    public ulong OldHandlers => Record + 512;

    /// <summary>1 where the earlier handler ran on the alternate stack, indexed by signal number, 8 bytes each.</summary>
    public ulong OldOnAltStack => Record + 512 + 256;

    public const int RecordOffset = 2 * OracleState.Size;
}
