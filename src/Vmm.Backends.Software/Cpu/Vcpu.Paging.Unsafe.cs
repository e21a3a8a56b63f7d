using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Mmu;
using Vmm.Core.Memory;
using static Vmm.Backends.Software.Cpu.ControlBits;

namespace Vmm.Backends.Software.Cpu;

/// <summary>Address translation (Intel SDM vol. 3, chapter 5).</summary>
internal sealed unsafe partial class Vcpu
{
    private const ulong AddressMask = 0x000F_FFFF_FFFF_F000;
    private const uint Present = 1, Writable = 2, UserBit = 4, Accessed = 0x20, Dirty = 0x40, PageSizeBit = 0x80, GlobalBit = 0x100;
    private const uint ErrorPresent = 1, ErrorWrite = 2, ErrorUser = 4, ErrorReserved = 8, ErrorFetch = 16, ErrorKey = 32;

    private MemoryRegion? _lastRegion;

    /// <summary>Translates a linear address, sets accessed and dirty bits, and checks every permission; or records #PF or #GP.</summary>
    private bool TryTranslate(ulong linear, Access access, int view, out ulong gpa, out bool global)
    {
        global = false;
        ref var s = ref S;
        if ((s.Cr0 & Cr0Pg) == 0)
        {
            gpa = (s.Mode & CpuMode.CodeMask) == CpuMode.Code64 ? linear : (uint)linear;
            global = true;
            return true;
        }

        var user = view == Tlb.User || (view == Tlb.Checked && s.Cpl == 3);
        if ((s.Efer & EferLma) != 0)
        {
            var levels = (s.Cr4 & Cr4La57) != 0 ? 5 : 4;
            var unused = 64 - (levels * 9 + 12);
            if ((ulong)((long)(linear << unused) >> unused) != linear)
            {
                gpa = 0;
                return Raise(Vector.GP, 0);
            }

            return WalkWide(linear, access, user, view, s.Cr3 & AddressMask, levels, out gpa, out global);
        }

        linear = (uint)linear;
        if ((s.Cr4 & Cr4Pae) == 0) return WalkNarrow(linear, access, user, view, out gpa, out global);
        var pdpte = Pdptes[linear >> 30];
        if ((pdpte & Present) == 0)
        {
            gpa = 0;
            return PageFault(linear, access, user, 0);
        }

        return WalkWide(linear, access, user, view, pdpte & AddressMask, 2, out gpa, out global);
    }

    private bool WalkWide(ulong linear, Access access, bool user, int view, ulong table, int levels, out ulong gpa, out bool global)
    {
        (gpa, global) = (0, false);
        ref var s = ref S;
        var reserved = ~((1UL << PhysicalBits) - 1) & 0x000F_FFFF_FFFF_FFFF;
        if ((s.Efer & EferNxe) == 0) reserved |= 1UL << 63;
        if ((s.Efer & EferLma) == 0) reserved |= 0x7FF0_0000_0000_0000;
        var rights = ~0UL;
        var noExecute = 0UL;
        for (var level = levels; ; level--)
        {
            var shift = 12 + 9 * (level - 1);
            var entryGpa = table + ((linear >> shift) & 511) * 8;
            var entry = ReadTable<ulong>(entryGpa);
            if ((entry & Present) == 0) return PageFault(linear, access, user, 0);
            var leaf = level == 1 || (level <= 3 && (entry & PageSizeBit) != 0);
            var mask = reserved;
            if (leaf && level > 1) mask |= ((1UL << shift) - 1) & ~0x1FFFUL;
            if (level >= 4) mask |= PageSizeBit;
            if (level == 3 && leaf && !_hasGigabytePages) mask |= PageSizeBit;
            if ((entry & mask) != 0) return PageFault(linear, access, user, ErrorPresent | ErrorReserved);
            rights &= entry;
            noExecute |= entry;
            if (!leaf)
            {
                if ((entry & Accessed) == 0 && !TrySetTable(entryGpa, entry, entry | Accessed)) return TryTranslate(linear, access, view, out gpa, out global);

                table = entry & AddressMask;
                continue;
            }

            if (!Permits(linear, access, user, view, rights, (noExecute >> 63) != 0, entry)) return false;
            var wanted = entry | Accessed | (access == Access.Write ? Dirty : 0);
            if (wanted != entry && !TrySetTable(entryGpa, entry, wanted)) return TryTranslate(linear, access, view, out gpa, out global);
            if (level > 1) _tlb.NoteLarge(linear, shift);
            var within = (1UL << shift) - 1;
            gpa = (entry & AddressMask & ~within) | (linear & within);
            global = (entry & GlobalBit) != 0 && (s.Cr4 & Cr4Pge) != 0;
            return true;
        }
    }

    private bool WalkNarrow(ulong linear, Access access, bool user, int view, out ulong gpa, out bool global)
    {
        (gpa, global) = (0, false);
        ref var s = ref S;
        var directoryGpa = (s.Cr3 & 0xFFFFF000) + (linear >> 22) * 4;
        var directory = ReadTable<uint>(directoryGpa);
        if ((directory & Present) == 0) return PageFault(linear, access, user, 0);
        if ((directory & PageSizeBit) != 0 && (s.Cr4 & Cr4Pse) != 0)
        {
            // PSE-36: address bits 39:32 are in bits 20:13; what is above the physical width, and bit 21, is reserved.
            if ((directory & (1u << 21)) != 0) return PageFault(linear, access, user, ErrorPresent | ErrorReserved);
            if (!Permits(linear, access, user, view, directory, false, 0)) return false;
            var wanted = directory | Accessed | (access == Access.Write ? Dirty : 0);
            if (wanted != directory && !TrySetTable(directoryGpa, directory, wanted)) return TryTranslate(linear, access, view, out gpa, out global);
            _tlb.NoteLarge(linear, 22);
            gpa = (directory & 0xFFC00000) | ((ulong)((directory >> 13) & 0xFF) << 32) | (linear & 0x3FFFFF);
            global = (directory & GlobalBit) != 0 && (s.Cr4 & Cr4Pge) != 0;
            return true;
        }

        if ((directory & Accessed) == 0 && !TrySetTable(directoryGpa, directory, directory | Accessed)) return TryTranslate(linear, access, view, out gpa, out global);
        var tableGpa = (directory & 0xFFFFF000) + ((linear >> 12) & 1023) * 4;
        var entry = ReadTable<uint>(tableGpa);
        if ((entry & Present) == 0) return PageFault(linear, access, user, 0);
        if (!Permits(linear, access, user, view, directory & entry, false, 0)) return false;
        var dirty = entry | Accessed | (access == Access.Write ? Dirty : 0);
        if (dirty != entry && !TrySetTable(tableGpa, entry, dirty)) return TryTranslate(linear, access, view, out gpa, out global);
        gpa = (entry & 0xFFFFF000) | (linear & 0xFFF);
        global = (entry & GlobalBit) != 0 && (s.Cr4 & Cr4Pge) != 0;
        return true;
    }

    private bool Permits(ulong linear, Access access, bool user, int view, ulong rights, bool noExecute, ulong leaf)
    {
        var error = Denied(access, user, view, rights, noExecute, leaf);
        return error == 0 || PageFault(linear, access, user, error);
    }

    // Zero, or what the error code says of an access that the entries of its page do not allow.
    private uint Denied(Access access, bool user, int view, ulong rights, bool noExecute, ulong leaf)
    {
        ref var s = ref S;
        var userPage = (rights & UserBit) != 0;
        var denied = user && !userPage;
        if (access == Access.Fetch)
        {
            denied |= noExecute && (s.Efer & EferNxe) != 0;
            denied |= !user && userPage && (s.Cr4 & Cr4Smep) != 0;
        }
        else
        {
            denied |= access == Access.Write && (rights & Writable) == 0 && (user || (s.Cr0 & Cr0Wp) != 0);
            if (!user && userPage && (s.Cr4 & Cr4Smap) != 0)
            {
                denied |= !(view == Tlb.SupervisorAc || (view == Tlb.Checked && (s.SystemFlags & Flags.AC) != 0));
            }
        }

        if (denied) return ErrorPresent;
        if (userPage && access != Access.Fetch && (s.Cr4 & Cr4Pke) != 0 && (s.Efer & EferLma) != 0)
        {
            var key = s.Pkru >> (int)((leaf >> 59) & 15) * 2;
            if ((key & 1) != 0 || ((key & 2) != 0 && access == Access.Write && (user || (s.Cr0 & Cr0Wp) != 0))) return ErrorPresent | ErrorKey;
        }

        return 0;
    }

    private bool PageFault(ulong linear, Access access, bool user, uint error)
    {
        S.Cr2 = linear;
        // The fetch bit is reported only where fetches can be told apart: NX or SMEP is on.
        var fetch = access == Access.Fetch && ((S.Efer & EferNxe) != 0 && (S.Cr4 & Cr4Pae) != 0 || (S.Cr4 & Cr4Smep) != 0);
        return Raise(Vector.PF, error | (access == Access.Write ? ErrorWrite : 0) | (user ? ErrorUser : 0) | (fetch ? ErrorFetch : 0));
    }

    /// <summary>Reads a paging-structure entry. What no memory backs reads as ones, which is a reserved-bit violation.</summary>
    private T ReadTable<T>(ulong gpa) where T : unmanaged
    {
        var host = TableHost(gpa);
        // SAFETY: TableHost gives null or an aligned address inside a region; entries are aligned to their size.
        if (host != null) return Unsafe.Read<T>(host);
        T ones;
        Unsafe.InitBlock(&ones, 0xFF, (uint)sizeof(T));
        return ones;
    }

    /// <summary>Sets accessed or dirty bits atomically. False: the entry changed meanwhile. ROM takes no bits and is let be.</summary>
    private bool TrySetTable<T>(ulong gpa, T before, T after) where T : unmanaged
    {
        var region = Partition.Memory.Find(gpa);
        if (region is null || region.Kind == MemoryRegionKind.Rom) return true;
        var host = TableHost(gpa);
        bool done;
        // SAFETY: TableHost gives an aligned address inside a region.
        if (sizeof(T) == 8) done = Interlocked.CompareExchange(ref *(ulong*)host, Unsafe.BitCast<T, ulong>(after), Unsafe.BitCast<T, ulong>(before)) == Unsafe.BitCast<T, ulong>(before);
        else done = Interlocked.CompareExchange(ref *(uint*)host, Unsafe.BitCast<T, uint>(after), Unsafe.BitCast<T, uint>(before)) == Unsafe.BitCast<T, uint>(before);
        if (done)
        {
            var page = (gpa - region.Start) / MemoryRegion.PageSize;
            var flags = region.GetFlags(page);
            if (flags != PageFlags.None)
            {
                region.ClearFlags(page, PageFlags.Clean);
                if ((flags & PageFlags.Code) != 0) Partition.CodeWritten(this, region, gpa, (uint)sizeof(T));
            }
        }

        return done;
    }

    private byte* TableHost(ulong gpa)
    {
        var region = _lastRegion;
        if (region is null || gpa - region.Start >= region.Length)
        {
            region = Partition.Memory.Find(gpa);
            if (region is null) return null;
        }

        return (byte*)region.HostAddress + (gpa - region.Start);
    }
}
