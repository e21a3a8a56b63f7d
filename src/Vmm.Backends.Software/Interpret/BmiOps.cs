using System.Numerics;
using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>BMI1, BMI2 (but MULX) and ADX.</summary>
internal static partial class BmiOps
{
    /// <summary>
    /// A result from the register-or-memory operand <c>a</c> and the other one, <c>b</c> (the old destination for ADCX and ADOX,
    /// the constant for RORX, nothing for BLSx). It cannot fault, so flags are set at once.
    /// </summary>
    private interface IBmi
    {
        static abstract T Run<T>(ref CpuState s, T a, T b) where T : unmanaged;
    }

    /// <summary>Two register sources: B is the register-or-memory operand, C the other; both put there by the binder.</summary>
    private static ref Op FromReg<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IBmi where T : unmanaged
    {
        cpu.SetReg(op.A, TOp.Run(ref cpu.S, cpu.Reg<T>(op.B), cpu.Reg<T>(op.C)));
        return ref cpu.Chain(ref op);
    }

    private static ref Op FromMem<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IBmi where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var a)) return ref cpu.Fault(ref op);
        cpu.SetReg(op.A, TOp.Run(ref cpu.S, a, cpu.Reg<T>(op.C)));
        return ref Vcpu.Next(ref op);
    }

    private static ref Op RotateReg<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        cpu.SetReg(op.A, Rotated(cpu.Reg<T>(op.B), (int)op.Imm));
        return ref cpu.Chain(ref op);
    }

    private static ref Op RotateMem<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var a)) return ref cpu.Fault(ref op);
        cpu.SetReg(op.A, Rotated(a, (int)op.Imm));
        return ref Vcpu.Next(ref op);
    }

    private static T Rotated<T>(T a, int count) where T : unmanaged =>
        Width.Narrow<T>(Unsafe.SizeOf<T>() == 8 ? BitOperations.RotateRight(Width.Zero(a), count) : BitOperations.RotateRight((uint)Width.Zero(a), count));

    private readonly struct Andn : IBmi
    {
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged
        {
            var r = Width.Narrow<T>(Width.Zero(a) & ~Width.Zero(b));
            s.SetLogic(r);
            return r;
        }
    }

    private readonly struct Bextr : IBmi
    {
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged
        {
            var control = Width.Zero(b);
            var (start, length) = ((int)control & 0xFF, (int)(control >> 8) & 0xFF);
            var r = start >= Width.Bits<T>() ? 0 : Width.Zero(a) >> start;
            if (length < 64) r &= (1UL << length) - 1;
            s.SetLogic(Width.Narrow<T>(r));
            return Width.Narrow<T>(r);
        }
    }

    private readonly struct Blsi : IBmi
    {
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged
        {
            var r = Width.Narrow<T>(Width.Zero(a) & (0 - Width.Zero(a)));
            s.SetResult(r, Width.Zero(a) != 0, false);
            return r;
        }
    }

    private readonly struct Blsmsk : IBmi
    {
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged
        {
            var r = Width.Narrow<T>(Width.Zero(a) ^ (Width.Zero(a) - 1));
            s.SetResult(r, Width.Zero(a) == 0, false);
            return r;
        }
    }

    private readonly struct Blsr : IBmi
    {
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged
        {
            var r = Width.Narrow<T>(Width.Zero(a) & (Width.Zero(a) - 1));
            s.SetResult(r, Width.Zero(a) == 0, false);
            return r;
        }
    }

    private readonly struct Bzhi : IBmi
    {
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged
        {
            var index = (int)Width.Zero(b) & 0xFF;
            var r = index >= Width.Bits<T>() ? a : Width.Narrow<T>(Width.Zero(a) & ((1UL << index) - 1));
            s.SetResult(r, index >= Width.Bits<T>(), false);
            return r;
        }
    }

    private readonly struct Pdep : IBmi
    {
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged
        {
            var (mask, source, r) = (Width.Zero(a), Width.Zero(b), 0UL);
            if (System.Runtime.Intrinsics.X86.Bmi2.X64.IsSupported) return Width.Narrow<T>(System.Runtime.Intrinsics.X86.Bmi2.X64.ParallelBitDeposit(source, mask));
            for (; mask != 0; mask &= mask - 1, source >>= 1)
            {
                if ((source & 1) != 0) r |= mask & (0 - mask);
            }

            return Width.Narrow<T>(r);
        }
    }

    private readonly struct Pext : IBmi
    {
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged
        {
            var (mask, source, r) = (Width.Zero(a), Width.Zero(b), 0UL);
            if (System.Runtime.Intrinsics.X86.Bmi2.X64.IsSupported) return Width.Narrow<T>(System.Runtime.Intrinsics.X86.Bmi2.X64.ParallelBitExtract(source, mask));
            for (var bit = 1UL; mask != 0; mask &= mask - 1, bit <<= 1)
            {
                if ((source & mask & (0 - mask)) != 0) r |= bit;
            }

            return Width.Narrow<T>(r);
        }
    }

    private readonly struct Shlx : IBmi
    {
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged =>
            Width.Narrow<T>(Width.Zero(a) << ((int)Width.Zero(b) & (Width.Bits<T>() - 1)));
    }

    private readonly struct Shrx : IBmi
    {
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged =>
            Width.Narrow<T>(Width.Zero(a) >> ((int)Width.Zero(b) & (Width.Bits<T>() - 1)));
    }

    private readonly struct Sarx : IBmi
    {
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged =>
            Width.Narrow<T>((ulong)((long)Width.Sign(a) >> ((int)Width.Zero(b) & (Width.Bits<T>() - 1))));
    }

    /// <summary>A sum with carry, and the carry out in bit 63.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T Sum<T>(T a, T b, ulong add, out ulong carry) where T : unmanaged
    {
        var (x, y) = (Width.Zero(a), Width.Zero(b));
        var r = x + y + add;
        carry = ((x & y) | ((x | y) & ~r)) << (64 - Width.Bits<T>());
        return Width.Narrow<T>(r);
    }

    private readonly struct Adcx : IBmi
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged
        {
            var r = Sum(a, b, s.FlagsAux >> 63, out var carry);
            // OF is kept by flipping both top bits together.
            var change = (carry ^ s.FlagsAux) & (1UL << 63);
            s.FlagsAux ^= change | (change >> 1);
            return r;
        }
    }

    private readonly struct Adox : IBmi
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged
        {
            var aux = s.FlagsAux;
            var r = Sum(a, b, (aux ^ (aux << 1)) >> 63, out var carry);
            var overflow = carry ^ aux;
            s.FlagsAux = (aux & ~(1UL << 62)) | ((overflow >> 1) & (1UL << 62));
            return r;
        }
    }
}
