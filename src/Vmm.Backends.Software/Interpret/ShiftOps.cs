using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>SHL, SHR, SAR, ROL, ROR, RCL, RCR, and the double shifts SHLD and SHRD.</summary>
internal static partial class ShiftOps
{
    /// <summary>By a constant that is not zero; Imm holds it masked.</summary>
    private static ref Op RegImm<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IShift where T : unmanaged
    {
        ref var s = ref cpu.S;
        var count = (int)op.Imm;
        var a = cpu.Reg<T>(op.A);
        var r = TOp.Run(ref s, a, count);
        cpu.SetReg(op.A, r);
        TOp.SetFlags(ref s, a, r, count);
        return ref cpu.Chain(ref op);
    }

    private static ref Op RegCl<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IShift where T : unmanaged
    {
        ref var s = ref cpu.S;
        var count = cpu.Reg<byte>(8) & (Unsafe.SizeOf<T>() == 8 ? 63 : 31);
        var a = cpu.Reg<T>(op.A);
        if (count == 0)
        {
            // No flag changes, but a 32-bit register is zero-extended all the same.
            cpu.SetReg(op.A, a);
            return ref cpu.Chain(ref op);
        }

        var r = TOp.Run(ref s, a, count);
        cpu.SetReg(op.A, r);
        TOp.SetFlags(ref s, a, r, count);
        return ref cpu.Chain(ref op);
    }

    private static ref Op MemImm<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IShift where T : unmanaged => ref Memory<TOp, T>(cpu, ref op, (int)op.Imm);

    private static ref Op MemCl<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IShift where T : unmanaged =>
        ref Memory<TOp, T>(cpu, ref op, cpu.Reg<byte>(8) & (Unsafe.SizeOf<T>() == 8 ? 63 : 31));

    /// <summary>A shift by a constant that masks to zero.</summary>
    private static ref Op RegNone<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        cpu.SetReg(op.A, cpu.Reg<T>(op.A));
        return ref cpu.Chain(ref op);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op Memory<TOp, T>(Vcpu cpu, ref Op op, int count) where TOp : struct, IShift where T : unmanaged
    {
        if (!cpu.TryBeginUpdate<T>(ref op, out var a, out var cell)) return ref cpu.Fault(ref op);
        var r = count == 0 ? a : TOp.Run(ref cpu.S, a, count);
        cpu.EndUpdate(ref op, cell, a, r);
        if (count != 0) TOp.SetFlags(ref cpu.S, a, r, count);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>Extra is the count, or 0x100 for CL.</summary>
    private static ref Op DoubleReg<TLeft, T>(Vcpu cpu, ref Op op) where TLeft : struct where T : unmanaged
    {
        var count = DoubleCount<T>(cpu, ref op);
        var a = cpu.Reg<T>(op.A);
        if (count == 0)
        {
            cpu.SetReg(op.A, a);
            return ref Vcpu.Next(ref op);
        }

        var b = cpu.Reg<T>(op.B);
        var r = Double<TLeft, T>(a, b, count, out var carry);
        cpu.SetReg(op.A, r);
        SetShift(ref cpu.S, r, carry, Width.Sign(a) ^ Width.Sign(r));
        return ref Vcpu.Next(ref op);
    }

    private static ref Op DoubleMem<TLeft, T>(Vcpu cpu, ref Op op) where TLeft : struct where T : unmanaged
    {
        if (!cpu.TryBeginUpdate<T>(ref op, out var a, out var cell)) return ref cpu.Fault(ref op);
        var count = DoubleCount<T>(cpu, ref op);
        if (count == 0)
        {
            cpu.EndUpdate(ref op, cell, a, a);
            return ref Vcpu.Next(ref op);
        }

        var r = Double<TLeft, T>(a, cpu.Reg<T>(op.A), count, out var carry);
        cpu.EndUpdate(ref op, cell, a, r);
        SetShift(ref cpu.S, r, carry, Width.Sign(a) ^ Width.Sign(r));
        return ref Vcpu.Next(ref op);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int DoubleCount<T>(Vcpu cpu, ref Op op) where T : unmanaged => (op.Extra == 0x100 ? cpu.Reg<byte>(8) : op.Extra) & (Unsafe.SizeOf<T>() == 8 ? 63 : 31);

    /// <summary>Shifts <paramref name="a"/> by 1 to 63 (31), filling from <paramref name="b"/>; bit 0 of <paramref name="carry"/> is what went out last.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T Double<TLeft, T>(T a, T b, int count, out ulong carry) where TLeft : struct where T : unmanaged
    {
        var (x, y, bits) = (Width.Zero(a), Width.Zero(b), Width.Bits<T>());
        if (Unsafe.SizeOf<T>() == 2)
        {
            // Counts above 16 are undefined; processors shift through a, b and a again.
            if (typeof(TLeft) == typeof(Left))
            {
                var ring = (x << 32) | (y << 16) | x;
                carry = ring >> (48 - count);
                return Width.Narrow<T>(ring << count >> 32);
            }
            else
            {
                var ring = (x << 32) | (y << 16) | x;
                carry = ring >> (count - 1);
                return Width.Narrow<T>(ring >> count);
            }
        }

        if (typeof(TLeft) == typeof(Left))
        {
            carry = x >> (bits - count);
            return Width.Narrow<T>((x << count) | (y >> (bits - count)));
        }

        carry = x >> (count - 1);
        return Width.Narrow<T>((x >> count) | (y << (bits - count)));
    }

    private readonly struct Left;

    private readonly struct Right;
}
