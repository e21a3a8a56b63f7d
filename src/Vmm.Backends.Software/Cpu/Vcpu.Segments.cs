using Vmm.Backends.Software.Mmu;
using Vmm.Core.X86;

namespace Vmm.Backends.Software.Cpu;

/// <summary>Segmentation (Intel SDM vol. 3, chapters 3 and 6).</summary>
internal sealed partial class Vcpu
{
    public bool ProtectedMode => (S.Cr0 & ControlBits.Cr0Pe) != 0;

    public bool Vm86 => (S.SystemFlags & Flags.VM) != 0;

    public bool LongMode => (S.Efer & ControlBits.EferLma) != 0;

    public bool Code64 => (S.Mode & CpuMode.CodeMask) == CpuMode.Code64;

    /// <summary>The I/O privilege level.</summary>
    public int Iopl => (int)((S.SystemFlags & Flags.IOPL) >> 12);

    /// <summary>Checks an access through a segment outside 64-bit mode: present, type, limit. The fault is #SS for SS, else #GP.</summary>
    public bool TrySegment(int segment, ulong offset, int size, Access access, out ulong linear)
    {
        ref var s = ref S.Seg[segment];
        linear = (uint)(s.Base + offset);
        var last = offset + (uint)size - 1;
        var ok = s.IsPresent;
        if (ok && ProtectedMode && !Vm86)
        {
            var code = (s.Attributes & 8) != 0;
            ok = access == Access.Write ? !code && (s.Attributes & 2) != 0 : !code || (s.Attributes & 2) != 0;
        }

        var expandDown = (s.Attributes & 0x1C) == 0x14;
        if (expandDown) ok &= offset > s.Limit && last <= ((s.Attributes & 0x4000) != 0 ? uint.MaxValue : 0xFFFFu);
        else ok &= last <= s.Limit;
        return ok || Raise(segment == 2 ? Vector.SS : Vector.GP, 0);
    }

    /// <summary>Reads a descriptor from GDT or LDT. The fault has the given vector, and the selector as error code.</summary>
    public bool TryReadDescriptor(ushort selector, out ulong descriptor, int vector = Vector.GP)
    {
        descriptor = 0;
        ulong table;
        uint limit;
        if ((selector & 4) != 0)
        {
            if (!S.Seg[6].IsPresent || (S.Seg[6].Selector & ~3) == 0) return Raise(vector, selector & 0xFFFCu);
            (table, limit) = (S.Seg[6].Base, S.Seg[6].Limit);
        }
        else
        {
            (table, limit) = (S.GdtBase, S.GdtLimit);
        }

        if ((uint)(selector | 7) > limit) return Raise(vector, selector & 0xFFFCu);
        return TryReadSystem(Linear(table + (selector & 0xFFF8u)), out descriptor);
    }

    /// <summary>The upper half of a 16-byte system descriptor.</summary>
    public bool TryReadUpperDescriptor(ushort selector, out ulong upper)
    {
        upper = 0;
        var (table, limit) = (selector & 4) != 0 ? (S.Seg[6].Base, S.Seg[6].Limit) : (S.GdtBase, S.GdtLimit);
        if ((uint)(selector | 7) + 8 > limit) return Raise(Vector.GP, selector & 0xFFFCu);
        return TryReadSystem(Linear(table + (selector & 0xFFF8u) + 8), out upper);
    }

    /// <summary>A linear address as the current mode forms it.</summary>
    public ulong Linear(ulong address) => LongMode ? address : (uint)address;

    /// <summary>Sets the accessed bit of a descriptor in memory (the busy bit for a TSS is the caller's).</summary>
    public bool TryWriteDescriptor(ushort selector, ulong descriptor)
    {
        var table = (selector & 4) != 0 ? S.Seg[6].Base : S.GdtBase;
        return TryWriteSystem(Linear(table + (selector & 0xFFF8u) + 4), (uint)(descriptor >> 32));
    }

    /// <summary>Unpacks a descriptor into a segment register's hidden part.</summary>
    public static SegmentState Unpack(ushort selector, ulong descriptor)
    {
        var attributes = (ushort)(((descriptor >> 40) & 0xFF) | ((descriptor >> 40) & 0xF000));
        var limit = (uint)((descriptor & 0xFFFF) | ((descriptor >> 32) & 0xF0000));
        if ((attributes & 0x8000) != 0) limit = (limit << 12) | 0xFFF;
        var start = ((descriptor >> 16) & 0xFFFFFF) | ((descriptor >> 32) & 0xFF000000);
        return new SegmentState(start, limit, selector, attributes);
    }

    /// <summary>A null segment: unusable, but with the selector kept.</summary>
    public static SegmentState Null(ushort selector) => new(0, 0, selector, 0);

    /// <summary>
    /// Loads ES, SS, DS, FS or GS as MOV and POP do, with every check of the SDM; real and virtual-8086 mode included.
    /// </summary>
    public bool TryLoadSegment(int segment, ushort selector)
    {
        if (!ProtectedMode || Vm86)
        {
            ref var s = ref S.Seg[segment];
            // Real-mode loads keep limit and attributes, which is what "unreal mode" lives on.
            s.Selector = selector;
            s.Base = (ulong)selector << 4;
            if (Vm86) (s.Limit, s.Attributes) = (0xFFFF, 0xF3);
            return true;
        }

        if (segment == 2) return TryLoadStackSegment(selector, S.Cpl, Vector.GP);
        if ((selector & ~3) == 0)
        {
            S.Seg[segment] = Null(selector);
            return true;
        }

        if (!TryReadDescriptor(selector, out var descriptor)) return false;
        var loaded = Unpack(selector, descriptor);
        var type = loaded.Attributes & 0x1F;
        var error = selector & 0xFFFCu;
        // Data, or readable code; conforming code is exempt from the privilege check.
        if ((type & 0x10) == 0 || (type & 0xA) == 8) return Raise(Vector.GP, error);
        if ((type & 0xC) != 0xC && ((selector & 3) > loaded.Dpl || S.Cpl > loaded.Dpl)) return Raise(Vector.GP, error);
        if (!loaded.IsPresent) return Raise(Vector.NP, error);
        if ((type & 1) == 0)
        {
            if (!TryWriteDescriptor(selector, descriptor | 1UL << 40)) return false;
            loaded.Attributes |= 1;
        }

        S.Seg[segment] = loaded;
        return true;
    }

    /// <summary>Loads SS for a privilege level; the fault for a bad selector has the given vector (#GP, or #TS from a TSS).</summary>
    public bool TryLoadStackSegment(ushort selector, int cpl, int vector)
    {
        var error = selector & 0xFFFCu;
        if (error == 0)
        {
            // A null SS is allowed in 64-bit mode below privilege 3, with RPL equal to CPL.
            if (!Code64 || cpl == 3 || (selector & 3) != cpl) return Raise(vector, 0);
            S.Seg[2] = Null(selector);
            UpdateMode();
            return true;
        }

        if (!TryReadStackDescriptor(selector, cpl, vector, out var loaded)) return false;
        S.Seg[2] = loaded;
        UpdateMode();
        return true;
    }

    /// <summary>Checks a stack segment's descriptor without loading it.</summary>
    public bool TryReadStackDescriptor(ushort selector, int cpl, int vector, out SegmentState loaded)
    {
        loaded = default;
        var error = selector & 0xFFFCu;
        if (!TryReadDescriptor(selector, out var descriptor, vector)) return false;
        loaded = Unpack(selector, descriptor);
        if ((selector & 3) != cpl || (loaded.Attributes & 0x1A) != 0x12 || loaded.Dpl != cpl) return Raise(vector, error);
        if (!loaded.IsPresent) return Raise(Vector.SS, error);
        if ((loaded.Attributes & 1) == 0)
        {
            if (!TryWriteDescriptor(selector, descriptor | 1UL << 40)) return false;
            loaded.Attributes |= 1;
        }

        return true;
    }

    /// <summary>Loads CS with a checked descriptor and changes privilege.</summary>
    public void SetCode(SegmentState code, int cpl)
    {
        code.Selector = (ushort)((code.Selector & ~3) | cpl);
        S.Seg[1] = code;
        S.Cpl = cpl;
        UpdateMode();
    }

    /// <summary>Sets the accessed bit of a code descriptor if it is clear.</summary>
    public bool TryMarkAccessed(ushort selector, ulong descriptor, ref SegmentState loaded)
    {
        if ((loaded.Attributes & 1) != 0) return true;
        loaded.Attributes |= 1;
        return TryWriteDescriptor(selector, descriptor | 1UL << 40);
    }

    /// <summary>Returning to a lower privilege empties segment registers that must not be used there.</summary>
    public void DropPrivilegedSegments()
    {
        ReadOnlySpan<int> data = [0, 3, 4, 5];
        foreach (var i in data)
        {
            ref var s = ref S.Seg[i];
            var conforming = (s.Attributes & 0x1C) == 0x1C;
            // The hidden base survives: 64-bit programs use FS and GS through null selectors.
            if ((s.Selector & ~3) == 0 || (!conforming && s.Dpl < S.Cpl)) s = Null(0) with { Base = s.Base };
        }
    }
}
