using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Interop;
using Vmm.Backends.Software.Translate;
using Vmm.Core.Memory;

namespace Vmm.Backends.Software.Cpu;

/// <summary>
/// One block of native memory with what translated code reaches from one register: below the state a stack of its own (for
/// the calls of stubs and for signals that the host delivers meanwhile) and a few constants, above it the software TLBs and
/// the caches of branch targets, and what is behind those; last what only the interpreter reaches. Nothing has a page before it is used: all
/// that is empty is zero.
/// </summary>
internal sealed unsafe class VcpuMemory : IDisposable
{
    /// <summary>Bytes from the base register of translated code to the state.</summary>
    public const int StateOffset = 32;

    /// <summary>Bytes from the base register to an XSAVE image of the x87 unit.</summary>
    public const int X87ImageOffset = 3456;

    /// <summary>Bytes from the base register to the TLBs.</summary>
    public const int TlbOffset = 4096;

    /// <summary>Bytes from the base register to the caches of branch targets, one for each privilege view.</summary>
    public const int TargetsOffset = TlbOffset + Mmu.Tlb.Bytes;

    /// <summary>Bytes from the base register to the table behind the TLBs.</summary>
    public const int TlbLookasideOffset = TargetsOffset + TargetCache.Views * TargetCache.Bytes;

    /// <summary>Bytes from the base register to the table behind the caches of branch targets.</summary>
    public const int TargetLookasideOffset = TlbLookasideOffset + Mmu.Tlb.LookasideSets * Mmu.Lookaside.SetBytes;

    /// <summary>Bytes from the base register to offsets of TLB entries that a switch of address spaces drops.</summary>
    public const int TlbJournalOffset = TargetLookasideOffset + TargetCache.LookasideSets * Mmu.Lookaside.SetBytes;

    /// <summary>Bytes from the base register to offsets of branch targets that a switch of address spaces drops.</summary>
    public const int TargetJournalOffset = TlbJournalOffset + Mmu.Tlb.JournalSize * 4;

    /// <summary>Bytes from the base register to the windows of hot code.</summary>
    public const int WindowsOffset = TargetJournalOffset + TargetCache.JournalSize * 4;

    /// <summary>Bytes from the base register to the counts of runs that blocks have left until they are hot.</summary>
    public static readonly int RunsOffset = WindowsOffset + Mmu.Windows.Bytes;

    /// <summary>How many such counts there are.</summary>
    public const int Runs = 64 << 10;

    private const int StackBytes = 256 << 10;
    private static readonly int s_writtenOffset = RunsOffset + Runs * sizeof(int);

    /// <summary>Bytes from the base register to the pages with code that translated code writes to.</summary>
    public static readonly int MarksOffset = s_writtenOffset + Mmu.Tlb.WrittenBytes;

    private static readonly int s_jumpsOffset = (MarksOffset + Mmu.Tlb.Marks * 16 + 4095) & ~4095;
    private static readonly int s_headsOffset = s_jumpsOffset + BlockCache.JumpBytes;
    private static readonly int s_ringOffset = s_headsOffset + BlockLists.HeadBytes;
    private static readonly int s_totalBytes = StackBytes + s_ringOffset + BlockCache.RingBytes;

    // Zeros straight from the operating system: little of it is touched at first, and an allocator would clear it all.
    private readonly MemoryRegion _pages = MemoryRegion.Allocate("processor", 0, (ulong)((s_totalBytes + 4095) & ~4095));

    // SAFETY: freed by Dispose; every part below lies inside, as the offsets add up to the whole.
    public VcpuMemory() => Base = (byte*)_pages.HostAddress + StackBytes;

    /// <summary>What the base register of translated code holds.</summary>
    public byte* Base { get; private set; }

    /// <summary>The state.</summary>
    public CpuState* State => (CpuState*)(Base + StateOffset);

    /// <summary>The legacy area and header of XSAVE, where translated code leaves and finds the x87 registers.</summary>
    // SAFETY: the state ends before it, and the TLBs begin behind it.
    public Span<byte> X87Image => new(Base + X87ImageOffset, 576);

    /// <summary>The software TLBs.</summary>
    public byte* Tlb => Base + TlbOffset;

    /// <summary>The mask by which indirect branches find their entry in these.</summary>
    public ulong* TargetMask => (ulong*)(Base + StateLayout.TargetMask);

    /// <summary>The windows of hot code.</summary>
    public byte* Windows => Base + WindowsOffset;

    /// <summary>What the TLB notes about pages that are written.</summary>
    public byte* WrittenPages => Base + s_writtenOffset;

    /// <summary>The pages with code that translated code writes to.</summary>
    public byte* Marks => Base + MarksOffset;

    /// <summary>The interpreter's blocks by linear address.</summary>
    public BlockCache.JumpEntry* Jumps => (BlockCache.JumpEntry*)(Base + s_jumpsOffset);

    /// <summary>Heads of lists of blocks by physical address.</summary>
    public nint* BlockHeads => (nint*)(Base + s_headsOffset);

    /// <summary>Room for blocks that are not warm.</summary>
    public byte* Ring => Base + s_ringOffset;

    /// <summary>The counts of runs left.</summary>
    public int* RunsLeft => (int*)(Base + RunsOffset);

    /// <summary>The cache of branch targets of a privilege view.</summary>
    public byte* Targets(int view) => Base + TargetsOffset + view * TargetCache.Bytes;

    /// <summary>The table behind the TLBs.</summary>
    public byte* TlbLookaside => Base + TlbLookasideOffset;

    /// <summary>The table behind the caches of branch targets.</summary>
    public byte* TargetLookaside => Base + TargetLookasideOffset;

    /// <summary>Where in these bytes the entries are that a switch of address spaces drops.</summary>
    public uint* TlbJournal => (uint*)(Base + TlbJournalOffset);

    /// <summary>The same, of branch targets.</summary>
    public uint* TargetJournal => (uint*)(Base + TargetJournalOffset);

    /// <summary>Makes the state, and what belongs to it, zero again.</summary>
    // SAFETY: the TLBs begin a page behind the base.
    public void ClearState() => Unsafe.InitBlock(Base, 0, TlbOffset);

    /// <summary>Makes what is behind the TLBs, and in front of what only the interpreter reaches, zero again. False where the host cannot.</summary>
    // SAFETY: both ends are page-aligned, and what is between them is this object's.
    public bool TryClearTables() => OperatingSystem.IsLinux() && LinuxMemory.TryDiscard((nint)(Base + TargetsOffset), (nuint)(s_jumpsOffset - TargetsOffset));

    public void Dispose()
    {
        _pages.Dispose();
        Base = null;
    }
}
