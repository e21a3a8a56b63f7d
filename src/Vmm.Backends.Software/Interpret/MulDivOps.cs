using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>MUL, IMUL, DIV, IDIV and MULX.</summary>
internal static partial class MulDivOps
{
    private const byte Rax = 0, Rdx = 16;

    private static ref Op MulReg<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        Multiply(cpu, cpu.Reg<T>(op.A));
        return ref cpu.Chain(ref op);
    }

    private static ref Op MulMem<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var b)) return ref cpu.Fault(ref op);
        Multiply(cpu, b);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op ImulWideReg<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        MultiplySigned(cpu, cpu.Reg<T>(op.A));
        return ref cpu.Chain(ref op);
    }

    private static ref Op ImulWideMem<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var b)) return ref cpu.Fault(ref op);
        MultiplySigned(cpu, b);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op ImulRegReg<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        Truncated(cpu, ref op, cpu.Reg<T>(op.A), cpu.Reg<T>(op.B));
        return ref cpu.Chain(ref op);
    }

    private static ref Op ImulRegMem<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var b)) return ref cpu.Fault(ref op);
        Truncated(cpu, ref op, cpu.Reg<T>(op.A), b);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op ImulRegImm<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        Truncated(cpu, ref op, cpu.Reg<T>(op.B), Width.Imm<T>(ref op));
        return ref cpu.Chain(ref op);
    }

    private static ref Op ImulMemImm<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var a)) return ref cpu.Fault(ref op);
        Truncated(cpu, ref op, a, Width.Imm<T>(ref op));
        return ref Vcpu.Next(ref op);
    }

    private static ref Op MulxReg<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        Mulx(cpu, ref op, cpu.Reg<T>(op.C));
        return ref cpu.Chain(ref op);
    }

    private static ref Op MulxMem<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var b)) return ref cpu.Fault(ref op);
        Mulx(cpu, ref op, b);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op DivReg<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!TryDivide(cpu, cpu.Reg<T>(op.A))) return ref cpu.Fault(ref op, Vector.DE);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op DivMem<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var divisor)) return ref cpu.Fault(ref op);
        if (!TryDivide(cpu, divisor)) return ref cpu.Fault(ref op, Vector.DE);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op IdivReg<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!TryDivideSigned(cpu, cpu.Reg<T>(op.A))) return ref cpu.Fault(ref op, Vector.DE);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op IdivMem<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var divisor)) return ref cpu.Fault(ref op);
        if (!TryDivideSigned(cpu, divisor)) return ref cpu.Fault(ref op, Vector.DE);
        return ref Vcpu.Next(ref op);
    }

    // CF and OF alike; the others are undefined, and come out as of the low half.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetProduct(ref CpuState s, ulong low, bool lost)
    {
        s.FlagsResult = low;
        s.FlagsAux = lost ? 1UL << 63 : 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Multiply<T>(Vcpu cpu, T b) where T : unmanaged
    {
        ref var s = ref cpu.S;
        if (Unsafe.SizeOf<T>() == 8)
        {
            var high = Math.BigMul(cpu.Reg<ulong>(Rax), Width.Zero(b), out var low);
            cpu.Reg<ulong>(Rax) = low;
            cpu.Reg<ulong>(Rdx) = high;
            SetProduct(ref s, low, high != 0);
            return;
        }

        var product = Width.Zero(cpu.Reg<T>(Rax)) * Width.Zero(b);
        Split<T>(cpu, product);
        SetProduct(ref s, Width.Sign(Width.Narrow<T>(product)), product >> Width.Bits<T>() != 0);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MultiplySigned<T>(Vcpu cpu, T b) where T : unmanaged
    {
        ref var s = ref cpu.S;
        if (Unsafe.SizeOf<T>() == 8)
        {
            var high = Math.BigMul((long)cpu.Reg<ulong>(Rax), (long)Width.Zero(b), out var low);
            cpu.Reg<ulong>(Rax) = (ulong)low;
            cpu.Reg<ulong>(Rdx) = (ulong)high;
            SetProduct(ref s, (ulong)low, high != low >> 63);
            return;
        }

        var product = Width.Sign(cpu.Reg<T>(Rax)) * Width.Sign(b);
        Split<T>(cpu, product);
        var kept = Width.Sign(Width.Narrow<T>(product));
        SetProduct(ref s, kept, kept != product);
    }

    /// <summary>A product of 16, 32 or 64 bits to AX, DX:AX or EDX:EAX.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Split<T>(Vcpu cpu, ulong product) where T : unmanaged
    {
        if (Unsafe.SizeOf<T>() == 1)
        {
            cpu.Reg<ushort>(Rax) = (ushort)product;
            return;
        }

        cpu.SetReg(Rax, Width.Narrow<T>(product));
        cpu.SetReg(Rdx, Width.Narrow<T>(product >> Width.Bits<T>()));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Truncated<T>(Vcpu cpu, ref Op op, T a, T b) where T : unmanaged
    {
        ref var s = ref cpu.S;
        if (Unsafe.SizeOf<T>() == 8)
        {
            var high = Math.BigMul((long)Width.Zero(a), (long)Width.Zero(b), out var low);
            cpu.Reg<ulong>(op.A) = (ulong)low;
            SetProduct(ref s, (ulong)low, high != low >> 63);
            return;
        }

        var product = Width.Sign(a) * Width.Sign(b);
        var kept = Width.Narrow<T>(product);
        cpu.SetReg(op.A, kept);
        SetProduct(ref s, Width.Sign(kept), Width.Sign(kept) != product);
    }

    /// <summary>The high half goes to the first register, and wins if both are the same.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Mulx<T>(Vcpu cpu, ref Op op, T b) where T : unmanaged
    {
        if (Unsafe.SizeOf<T>() == 8)
        {
            var high = Math.BigMul(cpu.Reg<ulong>(Rdx), Width.Zero(b), out var low);
            cpu.Reg<ulong>(op.B) = low;
            cpu.Reg<ulong>(op.A) = high;
            return;
        }

        var product = (ulong)cpu.Reg<uint>(Rdx) * (uint)Width.Zero(b);
        cpu.Reg<ulong>(op.B) = (uint)product;
        cpu.Reg<ulong>(op.A) = product >> 32;
    }

    private static bool TryDivide<T>(Vcpu cpu, T by) where T : unmanaged
    {
        var divisor = Width.Zero(by);
        if (divisor == 0) return false;
        if (Unsafe.SizeOf<T>() == 8)
        {
            var (low, high) = (cpu.Reg<ulong>(Rax), cpu.Reg<ulong>(Rdx));
            if (high == 0)
            {
                (cpu.Reg<ulong>(Rax), cpu.Reg<ulong>(Rdx)) = Math.DivRem(low, divisor);
                return true;
            }

            if (high >= divisor) return false;
            var (wide, rest) = UInt128.DivRem(new UInt128(high, low), divisor);
            (cpu.Reg<ulong>(Rax), cpu.Reg<ulong>(Rdx)) = ((ulong)wide, (ulong)rest);
            return true;
        }

        var (quotient, remainder) = Math.DivRem(Dividend<T>(cpu), divisor);
        if (quotient >> Width.Bits<T>() != 0) return false;
        Finish<T>(cpu, quotient, remainder);
        return true;
    }

    private static bool TryDivideSigned<T>(Vcpu cpu, T by) where T : unmanaged
    {
        var divisor = (long)Width.Sign(by);
        if (divisor == 0) return false;
        if (Unsafe.SizeOf<T>() == 8)
        {
            var (low, high) = (cpu.Reg<ulong>(Rax), cpu.Reg<ulong>(Rdx));
            if (high == (ulong)((long)low >> 63) && divisor != -1)
            {
                var (q, r) = Math.DivRem((long)low, divisor);
                (cpu.Reg<ulong>(Rax), cpu.Reg<ulong>(Rdx)) = ((ulong)q, (ulong)r);
                return true;
            }

            // By magnitudes: Int128 division of the smallest value by -1 would throw.
            var negative = (long)high < 0;
            var magnitude = new UInt128(high, low);
            if (negative) magnitude = UInt128.Zero - magnitude;
            var (wide, rest) = UInt128.DivRem(magnitude, divisor < 0 ? 0UL - (ulong)divisor : (ulong)divisor);
            var opposite = negative != (divisor < 0);
            if (wide > (opposite ? 1UL << 63 : (1UL << 63) - 1)) return false;
            cpu.Reg<ulong>(Rax) = opposite ? 0UL - (ulong)wide : (ulong)wide;
            cpu.Reg<ulong>(Rdx) = negative ? 0UL - (ulong)rest : (ulong)rest;
            return true;
        }

        var dividend = (long)Dividend<T>(cpu);
        if (Unsafe.SizeOf<T>() < 4) dividend = Unsafe.SizeOf<T>() == 1 ? (short)dividend : (int)dividend;
        if (dividend == long.MinValue && divisor == -1) return false;
        var (quotient, remainder) = Math.DivRem(dividend, divisor);
        if (quotient != (long)Width.Sign(Width.Narrow<T>((ulong)quotient))) return false;
        Finish<T>(cpu, (ulong)quotient, (ulong)remainder);
        return true;
    }

    private static ulong Dividend<T>(Vcpu cpu) where T : unmanaged => Unsafe.SizeOf<T>() switch
    {
        1 => cpu.Reg<ushort>(Rax),
        2 => ((ulong)cpu.Reg<ushort>(Rdx) << 16) | cpu.Reg<ushort>(Rax),
        _ => ((ulong)cpu.Reg<uint>(Rdx) << 32) | cpu.Reg<uint>(Rax),
    };

    private static void Finish<T>(Vcpu cpu, ulong quotient, ulong remainder) where T : unmanaged
    {
        if (Unsafe.SizeOf<T>() == 1)
        {
            cpu.Reg<ushort>(Rax) = (ushort)((byte)quotient | (remainder << 8));
            return;
        }

        cpu.SetReg(Rax, Width.Narrow<T>(quotient));
        cpu.SetReg(Rdx, Width.Narrow<T>(remainder));
    }
}
