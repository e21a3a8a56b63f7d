// Intel SDM vol. 1, 14.5 (FMA); vol. 2: VFMADD132PD and its kin.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.FloatingPoint;
using static Vmm.Backends.Software.Interpret.VectorFloatOps;

namespace Vmm.Backends.Software.Interpret;

/// <summary>The signs of a fused operation.</summary>
internal interface IFused
{
    static abstract bool NegatesProduct { get; }

    /// <summary>Whether the addend is subtracted, in even and in odd lanes.</summary>
    static abstract (bool Even, bool Odd) Subtracts { get; }
}

/// <summary>
/// Fused multiply-add: <c>±(B * C) ± D</c> into A, the sources having been put in the order of the formula when bound. With a memory
/// operand, that is C, or D for the 213 forms.
/// </summary>
internal static partial class FmaOps
{
    internal readonly struct MulAdd : IFused
    {
        public static bool NegatesProduct => false;
        public static (bool Even, bool Odd) Subtracts => (false, false);
    }

    internal readonly struct MulSub : IFused
    {
        public static bool NegatesProduct => false;
        public static (bool Even, bool Odd) Subtracts => (true, true);
    }

    internal readonly struct NegMulAdd : IFused
    {
        public static bool NegatesProduct => true;
        public static (bool Even, bool Odd) Subtracts => (false, false);
    }

    internal readonly struct NegMulSub : IFused
    {
        public static bool NegatesProduct => true;
        public static (bool Even, bool Odd) Subtracts => (true, true);
    }

    internal readonly struct MulAddSub : IFused
    {
        public static bool NegatesProduct => false;
        public static (bool Even, bool Odd) Subtracts => (true, false);
    }

    internal readonly struct MulSubAdd : IFused
    {
        public static bool NegatesProduct => false;
        public static (bool Even, bool Odd) Subtracts => (false, true);
    }

    private static ref Op PackedRegister<TOp, T, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IFused where T : unmanaged where TForm : struct, IForm =>
        ref PackedBoth<TOp, T, TForm>(cpu, ref op, cpu.Ymm<byte>(op.C), cpu.Ymm<byte>(op.D));

    private static ref Op PackedMemoryFactor<TOp, T, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IFused where T : unmanaged where TForm : struct, IForm
    {
        if (!cpu.TryLoadFull<TForm>(ref op, out var low, out var high)) return ref cpu.Fault(ref op);
        return ref PackedBoth<TOp, T, TForm>(cpu, ref op, Vector256.Create(low, high), cpu.Ymm<byte>(op.D));
    }

    private static ref Op PackedMemoryAddend<TOp, T, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IFused where T : unmanaged where TForm : struct, IForm
    {
        if (!cpu.TryLoadFull<TForm>(ref op, out var low, out var high)) return ref cpu.Fault(ref op);
        return ref PackedBoth<TOp, T, TForm>(cpu, ref op, cpu.Ymm<byte>(op.C), Vector256.Create(low, high));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op PackedBoth<TOp, T, TForm>(Vcpu cpu, ref Op op, Vector256<byte> b, Vector256<byte> c) where TOp : struct, IFused where T : unmanaged where TForm : struct, IForm
    {
        var raised = 0u;
        var mxcsr = cpu.S.Mxcsr;
        var low = Packed<TOp, T>(cpu.Xmm<byte>(op.B), b.GetLower(), c.GetLower(), mxcsr, ref raised);
        var high = TForm.IsWide ? Packed<TOp, T>(cpu.XmmHigh<byte>(op.B), b.GetUpper(), c.GetUpper(), mxcsr, ref raised) : default;
        if (Faults(cpu, raised)) return ref cpu.FloatFault(ref op);
        cpu.SetVector<TForm>(op.A, low, high);
        return ref Vcpu.Next(ref op);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> Packed<TOp, T>(Vector128<byte> a, Vector128<byte> b, Vector128<byte> c, uint mxcsr, ref uint raised) where TOp : struct, IFused where T : unmanaged
    {
        var (even, odd) = TOp.Subtracts;
        var top = typeof(T) == typeof(float) ? 0x8000_0000UL : 0x8000_0000_0000_0000;
        var signs = typeof(T) == typeof(float)
            ? Vector128.Create((even ? top : 0) | (odd ? top << 32 : 0)).AsByte()
            : Vector128.Create(even ? top : 0, odd ? top : 0).AsByte();
        var factor = TOp.NegatesProduct ? a ^ (typeof(T) == typeof(float) ? Vector128.Create(top | top << 32) : Vector128.Create(top)).AsByte() : a;
        if (SseFast.IsEligible(mxcsr) && SseFast.TryMultiplyAdd(factor.As<byte, T>(), b.As<byte, T>(), (c ^ signs).As<byte, T>(), out var fast)) return fast.AsByte();
        return PackedSlow<TOp, T>(a, b, c, mxcsr, ref raised);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Vector128<byte> PackedSlow<TOp, T>(Vector128<byte> a, Vector128<byte> b, Vector128<byte> c, uint mxcsr, ref uint raised) where TOp : struct, IFused where T : unmanaged
    {
        var result = default(Vector128<byte>);
        for (var i = 0; i < Vector128<T>.Count; i++)
        {
            var subtracts = (i & 1) == 0 ? TOp.Subtracts.Even : TOp.Subtracts.Odd;
            result = WithLane<T>(result, i, Exact<T>(Lane<T>(a, i), Lane<T>(b, i), Lane<T>(c, i), TOp.NegatesProduct, subtracts, mxcsr, ref raised));
        }

        return result;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static ulong Exact<T>(ulong a, ulong b, ulong c, bool negates, bool subtracts, uint mxcsr, ref uint raised) where T : unmanaged => typeof(T) == typeof(float)
        ? SoftFloat<Binary32>.MultiplyAdd(a, b, c, negates, subtracts, mxcsr, ref raised)
        : SoftFloat<Binary64>.MultiplyAdd(a, b, c, negates, subtracts, mxcsr, ref raised);

    private static ref Op ScalarRegister<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IFused where T : unmanaged =>
        ref Scalar<TOp, T>(cpu, ref op, cpu.Xmm<T>(op.C).ToScalar(), cpu.Xmm<T>(op.D).ToScalar());

    private static ref Op ScalarMemoryFactor<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IFused where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var value)) return ref cpu.Fault(ref op);
        return ref Scalar<TOp, T>(cpu, ref op, value, cpu.Xmm<T>(op.D).ToScalar());
    }

    private static ref Op ScalarMemoryAddend<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IFused where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var value)) return ref cpu.Fault(ref op);
        return ref Scalar<TOp, T>(cpu, ref op, cpu.Xmm<T>(op.C).ToScalar(), value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op Scalar<TOp, T>(Vcpu cpu, ref Op op, T b, T c) where TOp : struct, IFused where T : unmanaged
    {
        var mxcsr = cpu.S.Mxcsr;
        var a = cpu.Xmm<T>(op.B).ToScalar();
        ulong bits = 0;
        var fast = false;
        if (SseFast.IsEligible(mxcsr))
        {
            if (typeof(T) == typeof(float))
            {
                var (x, z) = (Unsafe.BitCast<T, float>(a), Unsafe.BitCast<T, float>(c));
                fast = SseFast.TryMultiplyAdd(TOp.NegatesProduct ? -x : x, Unsafe.BitCast<T, float>(b), TOp.Subtracts.Even ? -z : z, out var r);
                bits = BitConverter.SingleToUInt32Bits(r);
            }
            else
            {
                var (x, z) = (Unsafe.BitCast<T, double>(a), Unsafe.BitCast<T, double>(c));
                fast = SseFast.TryMultiplyAdd(TOp.NegatesProduct ? -x : x, Unsafe.BitCast<T, double>(b), TOp.Subtracts.Even ? -z : z, out var r);
                bits = BitConverter.DoubleToUInt64Bits(r);
            }
        }

        if (!fast)
        {
            var raised = 0u;
            bits = Exact<T>(Bits(a), Bits(b), Bits(c), TOp.NegatesProduct, TOp.Subtracts.Even, mxcsr, ref raised);
            if (Faults(cpu, raised)) return ref cpu.FloatFault(ref op);
        }

        cpu.Ymm<byte>(op.A) = WithLane<T>(cpu.Xmm<byte>(op.A), 0, bits).ToVector256();
        return ref Vcpu.Next(ref op);
    }
}
