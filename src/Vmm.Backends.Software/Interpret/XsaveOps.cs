using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;
using Vmm.Core.X86;
using static Vmm.Backends.Software.Cpu.ControlBits;

namespace Vmm.Backends.Software.Interpret;

/// <summary>FXSAVE, FXRSTOR and the XSAVE family (Intel SDM vol. 1, chapter 13). <see cref="Op.Size"/> is 8 with REX.W.</summary>
internal static partial class XsaveOps
{
    private const int LegacySize = 512;

    private static ref Op SaveLegacy(Vcpu cpu, ref Op op)
    {
        if (!TryLegacy(cpu, ref op, Access.Write, out var linear)) return ref cpu.Fault(ref op);
        // Bytes 464 to 511 belong to software and are not written; what SSE does not own stays as it is.
        Span<byte> area = stackalloc byte[LegacySize];
        XsaveImage.StoreX87(cpu, area, op.Size == 8);
        XsaveImage.StoreMxcsr(cpu, area);
        var registers = Registers(cpu);
        XsaveImage.StoreSse(cpu, area, registers);
        if (!TryWriteBytes(cpu, linear, area[..(160 + registers * 16)])) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op RestoreLegacy(Vcpu cpu, ref Op op)
    {
        if (!TryLegacy(cpu, ref op, Access.Read, out var linear)) return ref cpu.Fault(ref op);
        Span<byte> area = stackalloc byte[LegacySize];
        if (!TryReadBytes(cpu, linear, area)) return ref cpu.Fault(ref op);
        var mxcsr = BinaryPrimitives.ReadUInt32LittleEndian(area[24..]);
        if ((mxcsr & ~XsaveImage.MxcsrMask) != 0) return ref cpu.Fault(ref op, Vector.GP);
        XsaveImage.LoadX87(cpu, area, op.Size == 8);
        cpu.S.Mxcsr = mxcsr;
        XsaveImage.LoadSse(cpu, area, Registers(cpu));
        return ref Vcpu.Next(ref op);
    }

    // Extra: 0 XSAVE, 1 XSAVEOPT, 2 XSAVEC. Of the area, what is written is either read or stored before.
    [SkipLocalsInit]
    private static ref Op Save(Vcpu cpu, ref Op op)
    {
        if (!TryExtended(cpu, ref op, Access.Write, out var linear, out var wanted)) return ref cpu.Fault(ref op);
        if (!TryTouch(cpu, ref op, linear, AreaSize(wanted, op.Extra == 2), Access.Write)) return ref cpu.Fault(ref op);
        Span<byte> area = stackalloc byte[XsaveImage.Size];
        if (!TryReadBytes(cpu, linear, area[..(LegacySize + 64)])) return ref cpu.Fault(ref op);
        var inUse = XsaveImage.InUse(cpu);
        var compact = op.Extra == 2;
        // XSAVEOPT and XSAVEC leave out what is in its initial state.
        var written = op.Extra == 0 ? wanted : wanted & inUse;
        var registers = Registers(cpu);
        if ((written & XsaveImage.X87) != 0) XsaveImage.StoreX87(cpu, area, op.Size == 8);
        if (compact ? (wanted & XsaveImage.Sse) != 0 && ((written & XsaveImage.Sse) != 0 || cpu.S.Mxcsr != XsaveImage.InitialMxcsr) : (wanted & (XsaveImage.Sse | XsaveImage.Avx)) != 0) XsaveImage.StoreMxcsr(cpu, area);
        if (compact && cpu.S.Mxcsr != XsaveImage.InitialMxcsr) inUse |= XsaveImage.Sse;
        if ((written & XsaveImage.Sse) != 0 || (compact && (wanted & inUse & XsaveImage.Sse) != 0)) XsaveImage.StoreSse(cpu, area, registers);
        var before = BinaryPrimitives.ReadUInt64LittleEndian(area[LegacySize..]);
        BinaryPrimitives.WriteUInt64LittleEndian(area[LegacySize..], compact ? wanted & inUse : (before & ~wanted) | (wanted & inUse));
        if (compact) BinaryPrimitives.WriteUInt64LittleEndian(area[(LegacySize + 8)..], wanted | 1UL << 63);
        if (!TryWriteBytes(cpu, linear, area[..(LegacySize + 64)])) return ref cpu.Fault(ref op);
        if ((written & XsaveImage.Avx) != 0)
        {
            XsaveImage.StoreAvx(cpu, area, registers);
            if (!TryWriteBytes(cpu, linear + XsaveImage.AvxOffset, area[..(registers * 16)])) return ref cpu.Fault(ref op);
        }

        if ((written & XsaveImage.Pkru) != 0 && !cpu.TryWrite(linear + (uint)AreaSize(wanted, compact) - 8, (ulong)cpu.S.Pkru)) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>Bytes up to the end of the last component; PKRU is the last of all.</summary>
    private static int AreaSize(ulong components, bool compact)
    {
        var avx = (components & XsaveImage.Avx) != 0 ? XsaveImage.AvxOffset + 256 : XsaveImage.AvxOffset;
        return (components & XsaveImage.Pkru) == 0 ? avx : compact ? avx + 8 : XsaveImage.Size;
    }

    /// <summary>Whether an area of at most two pages may be accessed, by its first and its last byte; records the fault otherwise.</summary>
    private static bool TryTouch(Vcpu cpu, ref Op op, ulong linear, int size, Access access)
    {
        var last = linear + (uint)size - 1;
        var ok = access == Access.Write
            ? cpu.TryTouch(linear, access) && cpu.TryTouch(last, access)
            : cpu.TryRead<byte>(linear, out _) && cpu.TryRead<byte>(last, out _);
        return ok || cpu.StackFault(ref op);
    }

    // Of the area, what is loaded is read before.
    [SkipLocalsInit]
    private static ref Op Restore(Vcpu cpu, ref Op op)
    {
        if (!TryExtended(cpu, ref op, Access.Read, out var linear, out var wanted)) return ref cpu.Fault(ref op);
        Span<byte> area = stackalloc byte[XsaveImage.Size];
        // A header that cannot be used is found before a page is missed in front of it.
        var hasHeader = TryReadBytes(cpu, linear + LegacySize, area.Slice(LegacySize, 64));
        var present = hasHeader ? BinaryPrimitives.ReadUInt64LittleEndian(area[LegacySize..]) : 0;
        var layout = hasHeader ? BinaryPrimitives.ReadUInt64LittleEndian(area[(LegacySize + 8)..]) : 0;
        var compact = layout >> 63 != 0;
        if (hasHeader && !IsUsable(cpu, area.Slice(LegacySize, 64), present, layout)) return ref cpu.Fault(ref op, Vector.GP);
        if (!cpu.TryRead<byte>(linear, out _) || !hasHeader)
        {
            cpu.StackFault(ref op);
            return ref cpu.Fault(ref op);
        }

        if (!TryReadBytes(cpu, linear, area[..LegacySize])) return ref cpu.Fault(ref op);
        if (!TryTouch(cpu, ref op, linear, AreaSize(compact ? wanted & layout : wanted, compact), Access.Read)) return ref cpu.Fault(ref op);
        var avx = XsaveImage.AvxOffset;
        var pkru = compact ? avx + ((layout & XsaveImage.Avx) != 0 ? 256 : 0) : XsaveImage.PkruOffset;
        var load = wanted & present;
        if ((load & XsaveImage.Avx) != 0 && !TryReadBytes(cpu, linear + (uint)avx, area.Slice(avx, 256))) return ref cpu.Fault(ref op);
        if ((load & XsaveImage.Pkru) != 0 && !TryReadBytes(cpu, linear + (uint)pkru, area.Slice(pkru, 8))) return ref cpu.Fault(ref op);
        var mxcsr = BinaryPrimitives.ReadUInt32LittleEndian(area[24..]);
        var takesMxcsr = compact ? (load & XsaveImage.Sse) != 0 : (wanted & (XsaveImage.Sse | XsaveImage.Avx)) != 0;
        if (takesMxcsr && (mxcsr & ~XsaveImage.MxcsrMask) != 0) return ref cpu.Fault(ref op, Vector.GP);
        Load(cpu, area, wanted, load, op.Size == 8, avx, pkru);
        if (takesMxcsr) cpu.S.Mxcsr = mxcsr;
        else if (compact && (wanted & XsaveImage.Sse) != 0) cpu.S.Mxcsr = XsaveImage.InitialMxcsr;
        return ref Vcpu.Next(ref op);
    }

    private static bool IsUsable(Vcpu cpu, ReadOnlySpan<byte> header, ulong present, ulong layout)
    {
        var compact = layout >> 63 != 0;
        var reserved = header.Slice(compact ? 16 : 8, compact ? 48 : 16).ContainsAnyExcept((byte)0);
        if (reserved || (present & ~cpu.S.Xcr0) != 0) return false;
        return !compact || (cpu.Model.Has(CpuFeature.XsaveC) && (layout << 1 >> 1 & ~cpu.S.Xcr0) == 0 && (present & ~layout) == 0);
    }

    private static void Load(Vcpu cpu, ReadOnlySpan<byte> area, ulong wanted, ulong load, bool wide, int avx, int pkru)
    {
        var registers = Registers(cpu);
        if ((load & XsaveImage.X87) != 0) XsaveImage.LoadX87(cpu, area, wide);
        else if ((wanted & XsaveImage.X87) != 0) XsaveImage.InitializeX87(cpu);
        if ((load & XsaveImage.Sse) != 0) XsaveImage.LoadSse(cpu, area, registers);
        else if ((wanted & XsaveImage.Sse) != 0) XsaveImage.InitializeSse(cpu, registers);
        if ((load & XsaveImage.Avx) != 0) XsaveImage.LoadAvx(cpu, area[avx..], registers);
        else if ((wanted & XsaveImage.Avx) != 0) XsaveImage.InitializeAvx(cpu, registers);
        if ((wanted & XsaveImage.Pkru) == 0) return;
        var keys = (load & XsaveImage.Pkru) != 0 ? BinaryPrimitives.ReadUInt32LittleEndian(area[pkru..]) : 0;
        if (keys == cpu.S.Pkru) return;
        cpu.S.Pkru = keys;
        cpu.FlushTranslations(true);
    }

    private static ref Op ReadExtendedControl(Vcpu cpu, ref Op op)
    {
        if ((cpu.S.Cr4 & Cr4OsXsave) == 0) return ref cpu.Fault(ref op, Vector.UD);
        var index = cpu.Reg<uint>(8);
        if (index > (cpu.Model.Has(CpuFeature.Xgetbv1) ? 1u : 0)) return ref cpu.Fault(ref op, Vector.GP);
        var value = index == 0 ? cpu.S.Xcr0 : cpu.S.Xcr0 & XsaveImage.InUse(cpu);
        cpu.Gpr(0) = (uint)value;
        cpu.Gpr(2) = value >> 32;
        return ref Vcpu.Next(ref op);
    }

    // LDMXCSR and STMXCSR: Extra is 1 for the VEX form.
    private static ref Op LoadMxcsr(Vcpu cpu, ref Op op)
    {
        if (!TryMxcsr(cpu, ref op) || !cpu.TryLoad<uint>(ref op, out var value)) return ref cpu.Fault(ref op);
        if ((value & ~XsaveImage.MxcsrMask) != 0) return ref cpu.Fault(ref op, Vector.GP);
        cpu.S.Mxcsr = value;
        return ref Vcpu.Next(ref op);
    }

    private static ref Op StoreMxcsr(Vcpu cpu, ref Op op)
    {
        if (!TryMxcsr(cpu, ref op) || !cpu.TryStore(ref op, cpu.S.Mxcsr)) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    private static bool TryMxcsr(Vcpu cpu, ref Op op)
    {
        if ((cpu.S.Mode & (op.Extra == 0 ? CpuMode.Sse : CpuMode.Avx)) != 0) return true;
        var onlyTaskSwitched = (cpu.S.Cr0 & Cr0Ts) != 0 && (op.Extra == 0 ? (cpu.S.Cr0 & Cr0Em) == 0 && (cpu.S.Cr4 & Cr4OsFxsr) != 0 : (cpu.S.Cr4 & Cr4OsXsave) != 0 && (cpu.S.Xcr0 & 6) == 6);
        return cpu.Raise(onlyTaskSwitched ? Vector.NM : Vector.UD, 0);
    }

    private static int Registers(Vcpu cpu) => cpu.Code64 ? 16 : 8;

    private static bool TryLegacy(Vcpu cpu, ref Op op, Access access, out ulong linear)
    {
        linear = 0;
        if ((cpu.S.Cr0 & (Cr0Em | Cr0Ts)) != 0) return cpu.Raise(Vector.NM, 0);
        if (!cpu.TryLinear(ref op, LegacySize, access, out linear)) return false;
        if ((linear & 15) != 0) return Misaligned(cpu, ref op, linear);
        return TryTouch(cpu, ref op, linear + LegacySize - 1, 1, access) && TryTouch(cpu, ref op, linear, LegacySize, access);
    }

    // Of both reasons for a fault, a stack address that is not canonical comes first.
    private static bool Misaligned(Vcpu cpu, ref Op op, ulong linear)
    {
        cpu.Raise(Vector.GP, 0);
        return !cpu.IsCanonical(linear) && cpu.StackFault(ref op);
    }

    private static bool TryExtended(Vcpu cpu, ref Op op, Access access, out ulong linear, out ulong wanted)
    {
        (linear, wanted) = (0, 0);
        if ((cpu.S.Cr4 & Cr4OsXsave) == 0) return cpu.Raise(Vector.UD, 0);
        if ((cpu.S.Cr0 & Cr0Ts) != 0) return cpu.Raise(Vector.NM, 0);
        if (!cpu.TryLinear(ref op, LegacySize + 64, access, out linear)) return false;
        if ((linear & 63) != 0) return Misaligned(cpu, ref op, linear);
        wanted = cpu.S.Xcr0 & (cpu.Reg<uint>(0) | cpu.Gpr(2) << 32);
        return true;
    }
}
