// Intel SDM vol. 2: CVTPS2PD, CVTPD2PS, CVTDQ2PD, CVTPD2DQ, CVTTPD2DQ, CVTSI2SD, CVTSD2SI, CVTTSD2SI, CVTSS2SD, CVTSD2SS, VCVTPH2PS, VCVTPS2PH.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.FloatingPoint;

namespace Vmm.Backends.Software.Interpret;

/// <summary>Makes 128 bits of 64.</summary>
internal interface IFloatWiden
{
    static abstract Vector128<byte> Run(ulong source, uint mxcsr, ref uint raised);
}

/// <summary>Makes 64 bits of 128.</summary>
internal interface IFloatNarrow
{
    static abstract ulong Run(Vector128<byte> source, int imm, uint mxcsr, ref uint raised);
}

/// <summary>Conversions between formats of different size, and with general registers.</summary>
internal static partial class VectorConvertOps
{
    internal readonly struct SinglesToDoubles : IFloatWiden
    {
        public static Vector128<byte> Run(ulong source, uint mxcsr, ref uint raised) => Vector128.Create(
            SoftFloat<Binary32>.Convert<Binary64>((uint)source, mxcsr, ref raised),
            SoftFloat<Binary32>.Convert<Binary64>(source >> 32, mxcsr, ref raised)).AsByte();
    }

    internal readonly struct DwordsToDoubles : IFloatWiden
    {
        public static Vector128<byte> Run(ulong source, uint mxcsr, ref uint raised) => Vector128.Create((double)(int)source, (int)(source >> 32)).AsByte();
    }

    internal readonly struct HalvesToSingles : IFloatWiden
    {
        public static Vector128<byte> Run(ulong source, uint mxcsr, ref uint raised)
        {
            var result = Vector128<uint>.Zero;
            for (var i = 0; i < 4; i++) result = result.WithElement(i, (uint)SoftFloat<Binary16>.Widen<Binary32>((ushort)(source >> i * 16), ref raised));
            return result.AsByte();
        }
    }

    internal readonly struct DoublesToSingles : IFloatNarrow
    {
        public static ulong Run(Vector128<byte> source, int imm, uint mxcsr, ref uint raised) =>
            SoftFloat<Binary64>.Convert<Binary32>(source.AsUInt64().GetElement(0), mxcsr, ref raised)
            | SoftFloat<Binary64>.Convert<Binary32>(source.AsUInt64().GetElement(1), mxcsr, ref raised) << 32;
    }

    internal readonly struct DoublesToDwords : IFloatNarrow
    {
        public static ulong Run(Vector128<byte> source, int imm, uint mxcsr, ref uint raised) => ToDwords(source, false, mxcsr, ref raised);
    }

    internal readonly struct DoublesToDwordsTruncated : IFloatNarrow
    {
        public static ulong Run(Vector128<byte> source, int imm, uint mxcsr, ref uint raised) => ToDwords(source, true, mxcsr, ref raised);
    }

    internal readonly struct SinglesToHalves : IFloatNarrow
    {
        public static ulong Run(Vector128<byte> source, int imm, uint mxcsr, ref uint raised)
        {
            var result = 0UL;
            for (var i = 0; i < 4; i++) result |= SoftFloat<Binary32>.Narrow<Binary16>(source.AsUInt32().GetElement(i), imm, mxcsr, ref raised) << i * 16;
            return result;
        }
    }

    private static ulong ToDwords(Vector128<byte> source, bool truncate, uint mxcsr, ref uint raised) =>
        (uint)SoftFloat<Binary64>.ToInteger(source.AsUInt64().GetElement(0), 32, truncate, mxcsr, ref raised)
        | (ulong)SoftFloat<Binary64>.ToInteger(source.AsUInt64().GetElement(1), 32, truncate, mxcsr, ref raised) << 32;

    private static ref Op WidenRegister<TOp, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IFloatWiden where TForm : struct, IForm =>
        ref Widened<TOp, TForm>(cpu, ref op, cpu.Xmm<ulong>(op.B));

    private static ref Op WidenMemory<TOp, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IFloatWiden where TForm : struct, IForm
    {
        if (!cpu.TryLoadLow(ref op, TForm.IsWide ? 16 : 8, out var source)) return ref cpu.Fault(ref op);
        return ref Widened<TOp, TForm>(cpu, ref op, source);
    }

    private static ref Op Widened<TOp, TForm>(Vcpu cpu, ref Op op, Vector128<ulong> source) where TOp : struct, IFloatWiden where TForm : struct, IForm
    {
        var raised = 0u;
        var low = TOp.Run(source.GetElement(0), cpu.S.Mxcsr, ref raised);
        var high = TForm.IsWide ? TOp.Run(source.GetElement(1), cpu.S.Mxcsr, ref raised) : default;
        if (VectorFloatOps.Faults(cpu, raised)) return ref cpu.FloatFault(ref op);
        cpu.SetVector<TForm>(op.A, low, high);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op NarrowRegister<TOp, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IFloatNarrow where TForm : struct, IForm =>
        ref Narrowed<TOp, TForm>(cpu, ref op, cpu.Xmm<byte>(op.B), TForm.IsWide ? cpu.XmmHigh<byte>(op.B) : default);

    private static ref Op NarrowMemory<TOp, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IFloatNarrow where TForm : struct, IForm
    {
        if (!cpu.TryLoadFull<TForm>(ref op, out var low, out var high)) return ref cpu.Fault(ref op);
        return ref Narrowed<TOp, TForm>(cpu, ref op, low, high);
    }

    // Of 128 bits of source the upper half of the XMM result is zero.
    private static ref Op Narrowed<TOp, TForm>(Vcpu cpu, ref Op op, Vector128<byte> low, Vector128<byte> high) where TOp : struct, IFloatNarrow where TForm : struct, IForm
    {
        var raised = 0u;
        var first = TOp.Run(low, (int)op.Imm, cpu.S.Mxcsr, ref raised);
        var second = TForm.IsWide ? TOp.Run(high, (int)op.Imm, cpu.S.Mxcsr, ref raised) : 0;
        if (VectorFloatOps.Faults(cpu, raised)) return ref cpu.FloatFault(ref op);
        var result = Vector128.Create(first, second).AsByte();
        if (TForm.IsLegacy) cpu.Xmm<byte>(op.A) = result;
        else cpu.Ymm<byte>(op.A) = result.ToVector256();
        return ref Vcpu.Next(ref op);
    }

    /// <summary>VCVTPS2PH to memory: a fault of the memory operand comes before exceptions, and leaves MXCSR as it was.</summary>
    private static ref Op NarrowToMemory<TOp, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IFloatNarrow where TForm : struct, IForm
    {
        var raised = 0u;
        var mxcsr = cpu.S.Mxcsr;
        var first = TOp.Run(cpu.Xmm<byte>(op.A), (int)op.Imm, mxcsr, ref raised);
        var second = TForm.IsWide ? TOp.Run(cpu.XmmHigh<byte>(op.A), (int)op.Imm, mxcsr, ref raised) : 0;
        if (VectorFloatOps.Faults(cpu, raised))
        {
            var bytes = TForm.IsWide ? 16 : 8;
            if (cpu.TryLinear(ref op, bytes, Mmu.Access.Write, out var linear) && (cpu.TryProbeWrite(linear, bytes) || cpu.StackFault(ref op))) return ref cpu.FloatFault(ref op);
            cpu.S.Mxcsr = mxcsr;
            return ref cpu.Fault(ref op);
        }

        if (TForm.IsWide ? cpu.TryStore(ref op, Vector128.Create(first, second)) : cpu.TryStore(ref op, first)) return ref Vcpu.Next(ref op);
        cpu.S.Mxcsr = mxcsr;
        return ref cpu.Fault(ref op);
    }

    private static ref Op ScalarRegister<TFrom, TTo, TForm>(Vcpu cpu, ref Op op) where TFrom : unmanaged where TTo : unmanaged where TForm : struct, IForm =>
        ref ScalarConverted<TFrom, TTo, TForm>(cpu, ref op, cpu.Xmm<TFrom>(op.C).ToScalar());

    private static ref Op ScalarMemory<TFrom, TTo, TForm>(Vcpu cpu, ref Op op) where TFrom : unmanaged where TTo : unmanaged where TForm : struct, IForm
    {
        if (!cpu.TryLoad<TFrom>(ref op, out var source)) return ref cpu.Fault(ref op);
        return ref ScalarConverted<TFrom, TTo, TForm>(cpu, ref op, source);
    }

    /// <summary>CVTSS2SD, CVTSD2SS.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op ScalarConverted<TFrom, TTo, TForm>(Vcpu cpu, ref Op op, TFrom source) where TFrom : unmanaged where TTo : unmanaged where TForm : struct, IForm
    {
        var first = cpu.Xmm<byte>(op.B);
        if (typeof(TFrom) == typeof(float) && float.IsNormal(Unsafe.BitCast<TFrom, float>(source)))
        {
            cpu.SetVector<TForm>(op.A, first.AsDouble().WithElement(0, Unsafe.BitCast<TFrom, float>(source)).AsByte(), default);
            return ref Vcpu.Next(ref op);
        }

        var raised = 0u;
        var bits = typeof(TFrom) == typeof(float)
            ? SoftFloat<Binary32>.Convert<Binary64>(VectorFloatOps.Bits(source), cpu.S.Mxcsr, ref raised)
            : SoftFloat<Binary64>.Convert<Binary32>(VectorFloatOps.Bits(source), cpu.S.Mxcsr, ref raised);
        if (VectorFloatOps.Faults(cpu, raised)) return ref cpu.FloatFault(ref op);
        cpu.SetVector<TForm>(op.A, VectorFloatOps.WithLane<TTo>(first, 0, bits), default);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op FromIntegerRegister<TInteger, TFloat, TForm>(Vcpu cpu, ref Op op) where TInteger : unmanaged where TFloat : unmanaged where TForm : struct, IForm =>
        ref FromInteger<TInteger, TFloat, TForm>(cpu, ref op, cpu.Reg<TInteger>(op.C));

    private static ref Op FromIntegerMemory<TInteger, TFloat, TForm>(Vcpu cpu, ref Op op) where TInteger : unmanaged where TFloat : unmanaged where TForm : struct, IForm
    {
        if (!cpu.TryLoad<TInteger>(ref op, out var source)) return ref cpu.Fault(ref op);
        return ref FromInteger<TInteger, TFloat, TForm>(cpu, ref op, source);
    }

    /// <summary>CVTSI2SS, CVTSI2SD.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op FromInteger<TInteger, TFloat, TForm>(Vcpu cpu, ref Op op, TInteger source) where TInteger : unmanaged where TFloat : unmanaged where TForm : struct, IForm
    {
        var value = typeof(TInteger) == typeof(int) ? Unsafe.BitCast<TInteger, int>(source) : Unsafe.BitCast<TInteger, long>(source);
        ulong bits;
        if (typeof(TFloat) == typeof(double) && (typeof(TInteger) == typeof(int) || Math.Abs(value >> 1) < 1L << 51))
        {
            bits = BitConverter.DoubleToUInt64Bits(value);
        }
        else
        {
            var raised = 0u;
            bits = typeof(TFloat) == typeof(float)
                ? SoftFloat<Binary32>.FromInteger(value, cpu.S.Mxcsr, ref raised)
                : SoftFloat<Binary64>.FromInteger(value, cpu.S.Mxcsr, ref raised);
            if (VectorFloatOps.Faults(cpu, raised)) return ref cpu.FloatFault(ref op);
        }

        cpu.SetVector<TForm>(op.A, VectorFloatOps.WithLane<TFloat>(cpu.Xmm<byte>(op.B), 0, bits), default);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op ToIntegerRegister<TFloat, TInteger, TTruncates>(Vcpu cpu, ref Op op) where TFloat : unmanaged where TInteger : unmanaged where TTruncates : struct, IForm =>
        ref ToInteger<TFloat, TInteger, TTruncates>(cpu, ref op, cpu.Xmm<TFloat>(op.B).ToScalar());

    private static ref Op ToIntegerMemory<TFloat, TInteger, TTruncates>(Vcpu cpu, ref Op op) where TFloat : unmanaged where TInteger : unmanaged where TTruncates : struct, IForm
    {
        if (!cpu.TryLoad<TFloat>(ref op, out var source)) return ref cpu.Fault(ref op);
        return ref ToInteger<TFloat, TInteger, TTruncates>(cpu, ref op, source);
    }

    /// <summary>CVTSD2SI and, where TTruncates is wide, CVTTSD2SI.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op ToInteger<TFloat, TInteger, TTruncates>(Vcpu cpu, ref Op op, TFloat source) where TFloat : unmanaged where TInteger : unmanaged where TTruncates : struct, IForm
    {
        long value;
        var number = typeof(TFloat) == typeof(float) ? Unsafe.BitCast<TFloat, float>(source) : Unsafe.BitCast<TFloat, double>(source);
        // An exact integer well inside the range is the same in every rounding mode and raises nothing.
        if (!(Math.Abs(number) < 2147483648.0) || (value = (long)number) != number)
        {
            var raised = 0u;
            var bits = typeof(TInteger) == typeof(uint) ? 32 : 64;
            if (TTruncates.IsWide && Math.Abs(number) is < 2147483648.0 and > 1E-30)
            {
                value = (long)number;
                raised = FpFlags.Precision;
            }
            else value = typeof(TFloat) == typeof(float)
                ? SoftFloat<Binary32>.ToInteger(VectorFloatOps.Bits(source), bits, TTruncates.IsWide, cpu.S.Mxcsr, ref raised)
                : SoftFloat<Binary64>.ToInteger(VectorFloatOps.Bits(source), bits, TTruncates.IsWide, cpu.S.Mxcsr, ref raised);
            if (VectorFloatOps.Faults(cpu, raised)) return ref cpu.FloatFault(ref op);
        }

        cpu.Gpr(op.A >> 3) = typeof(TInteger) == typeof(uint) ? (uint)value : (ulong)value;
        return ref Vcpu.Next(ref op);
    }
}
