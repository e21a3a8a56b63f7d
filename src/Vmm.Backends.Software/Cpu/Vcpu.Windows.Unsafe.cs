using System.Runtime.ExceptionServices;
using Vmm.Backends.Software.Mmu;
using Vmm.Backends.Software.Translate;
using Vmm.Core.Memory;
using static Vmm.Backends.Software.Cpu.ControlBits;

namespace Vmm.Backends.Software.Cpu;

/// <summary>Opening the windows of hot code: page tables are read, never changed, and nothing faults.</summary>
internal sealed unsafe partial class Vcpu
{
    // Page tables that are looked through in each direction.
    private const int MostTables = 8;

    private readonly Windows _windows;

    /// <summary>Hot code met addresses outside of a window, and asks for it to be opened there.</summary>
    public ExitKind ServeWindow()
    {
        try
        {
            var (window, linear) = ((int)S.Translator.Site, S.Translator.Linear);
            if (_windows.Moves(window))
            {
                var executor = _executor!;
                if (_windows.MovesTooOften(window, linear) && executor.Translator.GiveUp(window) is { } plain) executor.Translator.Heat(executor, plain, Code(plain.Block), _blocks);
                return 0;
            }

            if (_windows.TryOpen(window, linear)) return 0;
            if (TryFindRun(window, linear, out var run)) _windows.Add(run);
            if (!_windows.TryOpen(window, linear)) _windows.Release(window);
            return 0;
        }
        catch (Exception e)
        {
            _callbackFailure = ExceptionDispatchInfo.Capture(e);
            return ExitKind.Failed;
        }
    }

    private bool TryFindRun(int window, ulong linear, out WindowRun run)
    {
        run = default;
        var (write, view) = _windows.UseOf(window);
        var access = write ? Access.Write : Access.Read;
        if (!TryFindLeaf(this, linear, access, view, out var leaf)) return false;
        var size = 1UL << leaf.Shift;
        var first = linear & ~(size - 1);
        var gpa = leaf.Address;
        // Up and down from there while each entry is what the one before says.
        var (low, high) = (first, first + (size - 1));
        var at = leaf;
        for (var tables = 0; tables < MostTables; tables++)
        {
            for (; at.Index < 511 && IsLike(at.Table[at.Index + 1], at.Entry + size, write); at.Index++) (at.Entry, high) = (at.Entry + size, high + size);
            if (at.Index < 511 || high == ulong.MaxValue || !TryFindLeaf(this, high + 1, access, view, out var next) || next.Shift != leaf.Shift || !IsLike(next.Entry, at.Entry + size, write)) break;
            (at, high) = (next, high + size);
        }

        at = leaf;
        for (var tables = 0; tables < MostTables; tables++)
        {
            for (; at.Index > 0 && IsLike(at.Table[at.Index - 1], at.Entry - size, write); at.Index--) (at.Entry, low) = (at.Entry - size, low - size);
            if (at.Index > 0 || low == 0 || !TryFindLeaf(this, low - 1, access, view, out var next) || next.Shift != leaf.Shift || !IsLike(next.Entry, at.Entry - size, write)) break;
            (at, low) = (next, low - size);
        }

        // Within the memory region, and off the local APIC's page.
        var page = gpa + (linear - first) & ~0xFFFUL;
        var (start, end) = (gpa - (first - low), gpa + (high - first));
        if (Partition.Memory.Find(page) is not { } region || (write && region.Kind == MemoryRegionKind.Rom)) return false;
        (start, end) = (Math.Max(start, region.Start), Math.Min(end, region.Start + (region.Length - 1)));
        var apic = Apic.Base & ~0xFFFUL;
        if (apic >= start && apic <= end && Apic.Claims(apic)) return false;
        if (write)
        {
            // SAFETY: there is a byte for each page of the region, and both ends are in it.
            var flags = (byte*)region.PageFlagsAddress;
            var (lowest, here, highest) = ((start - region.Start) / 4096, (page - region.Start) / 4096, (end - region.Start) / 4096);
            if (Volatile.Read(ref flags[here]) != 0) return false;
            var below = new ReadOnlySpan<byte>(flags + lowest, (int)(here - lowest)).LastIndexOfAnyExcept((byte)0);
            var above = new ReadOnlySpan<byte>(flags + here, (int)(highest - here + 1)).IndexOfAnyExcept((byte)0);
            if (below >= 0) start = region.Start + (lowest + (uint)below + 1) * 4096;
            if (above >= 0) end = region.Start + (here + (uint)above) * 4096 - 1;
        }

        var from = first + (start - gpa);
        run = new WindowRun
        {
            Start = from,
            Length = end - start + 1,
            Addend = (nint)((ulong)region.HostAddress + (start - region.Start) - from),
            View = view,
            Shift = leaf.Shift,
            Write = write,
            Global = leaf.Global,
        };
        return true;
    }

    // What software keeps in an entry tells nothing, nor does the dirty bit where nothing is written.
    private static bool IsLike(ulong entry, ulong expected, bool write)
    {
        const ulong available = 0x07F0_0000_0000_0E00;
        return ((entry ^ expected) & ~(available | (write ? 0UL : Dirty))) == 0;
    }

    // The entry that maps an address in 64-bit mode, of this processor or another, if it lets an access through as it is, with nothing to be set.
    private bool TryFindLeaf(Vcpu of, ulong linear, Access access, int view, out Leaf leaf)
    {
        leaf = default;
        ref var s = ref of.S;
        var write = access == Access.Write;
        var levels = (s.Cr4 & Cr4La57) != 0 ? 5 : 4;
        var unused = 64 - (levels * 9 + 12);
        if ((ulong)((long)(linear << unused) >> unused) != linear) return false;
        var reserved = ~((1UL << PhysicalBits) - 1) & 0x000F_FFFF_FFFF_FFFF;
        if ((s.Efer & EferNxe) == 0) reserved |= 1UL << 63;
        var (rights, noExecute) = (~0UL, 0UL);
        var table = s.Cr3 & AddressMask;
        for (var level = levels; ; level--)
        {
            var shift = 12 + 9 * (level - 1);
            var entries = (ulong*)TableHost(table);
            if (entries == null) return false;
            var index = (int)(linear >> shift) & 511;
            // SAFETY: a table is a page, and regions consist of pages.
            var entry = Volatile.Read(ref entries[index]);
            var isLeaf = level == 1 || (level <= 3 && (entry & PageSizeBit) != 0);
            var mask = reserved;
            if (isLeaf && level > 1) mask |= ((1UL << shift) - 1) & ~0x1FFFUL;
            if (level >= 4 || (level == 3 && isLeaf && !_hasGigabytePages)) mask |= PageSizeBit;
            var wanted = Present | Accessed | (isLeaf && write ? Dirty : 0);
            if ((entry & mask) != 0 || (entry & wanted) != wanted) return false;
            rights &= entry;
            noExecute |= entry;
            if (!isLeaf)
            {
                table = entry & AddressMask;
                continue;
            }

            if (of.Denied(access, view == Tlb.User, view, rights, (noExecute >> 63) != 0, entry) != 0) return false;
            leaf = new Leaf { Table = entries, Index = index, Entry = entry, Shift = shift, Address = entry & AddressMask & ~((1UL << shift) - 1), Global = (entry & GlobalBit) != 0 && (s.Cr4 & Cr4Pge) != 0 };
            return true;
        }
    }

    /// <summary>
    /// Whether kernel code of another processor (or of this one), if it fetches an address, may find a physical address there from now on, until it drops what is global: the processor
    /// might have had it in its TLB for long. One that is not in long mode drops everything before it gets there. Any thread.
    /// </summary>
    /// <param name="of">The processor.</param>
    /// <param name="linear">The address.</param>
    /// <param name="gpa">The physical address.</param>
    /// <param name="shift">The binary logarithm of its page's size.</param>
    public bool MayFetchGlobal(Vcpu of, ulong linear, ulong gpa, out int shift)
    {
        shift = 12;
        if ((Volatile.Read(ref of.S.Efer) & EferLma) == 0) return true;
        if (!TryFindLeaf(of, linear, Access.Fetch, Tlb.Supervisor, out var leaf) || !leaf.Global) return false;
        shift = leaf.Shift;
        return leaf.Address + (linear & ((1UL << shift) - 1)) == gpa;
    }

    private struct Leaf
    {
        public ulong* Table;
        public int Index, Shift;
        public ulong Entry, Address;
        public bool Global;
    }
}
