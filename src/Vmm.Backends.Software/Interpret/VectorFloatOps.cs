// Intel SDM vol. 1, 10.4, 11.4, 11.5, 14.1; vol. 2: ADDPS to CMPSD, HADDPS, ADDSUBPS, DPPS, COMISS.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.FloatingPoint;

namespace Vmm.Backends.Software.Interpret;

/// <summary>
/// Floating-point arithmetic and comparison. All lanes are computed, then MXCSR takes their exceptions; an unmasked one leaves the
/// destination as it was.
/// </summary>
internal static partial class VectorFloatOps
{
    /// <summary>Adds an instruction's exceptions to MXCSR. True: it faults.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Faults(Vcpu cpu, uint raised) => raised != 0 && Mxcsr.Commit(ref cpu.S.Mxcsr, raised);

    /// <summary>One element with all exceptions.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Exact<TOp, T>(ulong a, ulong b, int imm, uint mxcsr, ref uint raised) where TOp : struct, IFloatBinary where T : unmanaged =>
        typeof(T) == typeof(float) ? TOp.Exact<Binary32>(a, b, imm, mxcsr, ref raised) : TOp.Exact<Binary64>(a, b, imm, mxcsr, ref raised);

    /// <summary>The bits of a lane.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Lane<T>(Vector128<byte> value, int lane) where T : unmanaged =>
        typeof(T) == typeof(float) ? value.AsUInt32().GetElement(lane) : value.AsUInt64().GetElement(lane);

    /// <summary>Replaces a lane.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> WithLane<T>(Vector128<byte> value, int lane, ulong bits) where T : unmanaged =>
        typeof(T) == typeof(float) ? value.AsUInt32().WithElement(lane, (uint)bits).AsByte() : value.AsUInt64().WithElement(lane, bits).AsByte();

    /// <summary>An operation on all lanes of 128 bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Packed<TOp, T>(Vector128<byte> a, Vector128<byte> b, int imm, uint mxcsr, ref uint raised)
        where TOp : struct, IFloatBinary where T : unmanaged =>
        TOp.TryFast(a.As<byte, T>(), b.As<byte, T>(), imm, mxcsr, out var result) ? result.AsByte() : PackedSlow<TOp, T>(a, b, imm, mxcsr, ref raised);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Vector128<byte> PackedSlow<TOp, T>(Vector128<byte> a, Vector128<byte> b, int imm, uint mxcsr, ref uint raised)
        where TOp : struct, IFloatBinary where T : unmanaged
    {
        var result = default(Vector128<byte>);
        for (var i = 0; i < Vector128<T>.Count; i++) result = WithLane<T>(result, i, Exact<TOp, T>(Lane<T>(a, i), Lane<T>(b, i), imm, mxcsr, ref raised));
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> Packed1<TOp, T>(Vector128<byte> a, int imm, uint mxcsr, ref uint raised) where TOp : struct, IFloatUnary where T : unmanaged =>
        TOp.TryFast(a.As<byte, T>(), imm, mxcsr, out var result) ? result.AsByte() : PackedSlow<FloatLanes.OfSecond<TOp>, T>(default, a, imm, mxcsr, ref raised);

    private static ref Op PackedRegister<TOp, T, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IFloatBinary where T : unmanaged where TForm : struct, IForm =>
        ref PackedBoth<TOp, T, TForm>(cpu, ref op, cpu.Xmm<byte>(op.C), TForm.IsWide ? cpu.XmmHigh<byte>(op.C) : default);

    private static ref Op PackedMemory<TOp, T, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IFloatBinary where T : unmanaged where TForm : struct, IForm
    {
        if (!cpu.TryLoadFull<TForm>(ref op, out var low, out var high)) return ref cpu.Fault(ref op);
        return ref PackedBoth<TOp, T, TForm>(cpu, ref op, low, high);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op PackedBoth<TOp, T, TForm>(Vcpu cpu, ref Op op, Vector128<byte> low, Vector128<byte> high)
        where TOp : struct, IFloatBinary where T : unmanaged where TForm : struct, IForm
    {
        var raised = 0u;
        low = Packed<TOp, T>(cpu.Xmm<byte>(op.B), low, (int)op.Imm, cpu.S.Mxcsr, ref raised);
        if (TForm.IsWide) high = Packed<TOp, T>(cpu.XmmHigh<byte>(op.B), high, (int)op.Imm, cpu.S.Mxcsr, ref raised);
        if (Faults(cpu, raised)) return ref cpu.FloatFault(ref op);
        cpu.SetVector<TForm>(op.A, low, high);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op Packed1Register<TOp, T, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IFloatUnary where T : unmanaged where TForm : struct, IForm =>
        ref Packed1Both<TOp, T, TForm>(cpu, ref op, cpu.Xmm<byte>(op.B), TForm.IsWide ? cpu.XmmHigh<byte>(op.B) : default);

    private static ref Op Packed1Memory<TOp, T, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IFloatUnary where T : unmanaged where TForm : struct, IForm
    {
        if (!cpu.TryLoadFull<TForm>(ref op, out var low, out var high)) return ref cpu.Fault(ref op);
        return ref Packed1Both<TOp, T, TForm>(cpu, ref op, low, high);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op Packed1Both<TOp, T, TForm>(Vcpu cpu, ref Op op, Vector128<byte> low, Vector128<byte> high)
        where TOp : struct, IFloatUnary where T : unmanaged where TForm : struct, IForm
    {
        var raised = 0u;
        low = Packed1<TOp, T>(low, (int)op.Imm, cpu.S.Mxcsr, ref raised);
        if (TForm.IsWide) high = Packed1<TOp, T>(high, (int)op.Imm, cpu.S.Mxcsr, ref raised);
        if (Faults(cpu, raised)) return ref cpu.FloatFault(ref op);
        cpu.SetVector<TForm>(op.A, low, high);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op ScalarRegister<TOp, T, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IFloatBinary where T : unmanaged where TForm : struct, IForm =>
        ref ScalarResult<TOp, T, TForm>(cpu, ref op, cpu.Xmm<T>(op.C).ToScalar());

    private static ref Op ScalarMemory<TOp, T, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IFloatBinary where T : unmanaged where TForm : struct, IForm
    {
        if (!cpu.TryLoad<T>(ref op, out var b)) return ref cpu.Fault(ref op);
        return ref ScalarResult<TOp, T, TForm>(cpu, ref op, b);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op ScalarResult<TOp, T, TForm>(Vcpu cpu, ref Op op, T b) where TOp : struct, IFloatBinary where T : unmanaged where TForm : struct, IForm
    {
        var first = cpu.Xmm<T>(op.B);
        if (!TryFastScalar<TOp, T>(first.ToScalar(), b, (int)op.Imm, cpu.S.Mxcsr, out var result))
        {
            var raised = 0u;
            var bits = ScalarSlow<TOp, T>(Bits(first.ToScalar()), Bits(b), (int)op.Imm, cpu.S.Mxcsr, ref raised);
            if (Faults(cpu, raised)) return ref cpu.FloatFault(ref op);
            result = Unsafe.As<ulong, T>(ref bits);
        }

        cpu.SetVector<TForm>(op.A, first.WithElement(0, result).AsByte(), default);
        return ref Vcpu.Next(ref op);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static ulong ScalarSlow<TOp, T>(ulong a, ulong b, int imm, uint mxcsr, ref uint raised) where TOp : struct, IFloatBinary where T : unmanaged =>
        Exact<TOp, T>(a, b, imm, mxcsr, ref raised);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool TryFastScalar<TOp, T>(T a, T b, int imm, uint mxcsr, out T result) where TOp : struct, IFloatBinary where T : unmanaged
    {
        if (typeof(T) == typeof(float))
        {
            var single = TOp.TryFast(Unsafe.BitCast<T, float>(a), Unsafe.BitCast<T, float>(b), imm, mxcsr, out var f);
            result = Unsafe.BitCast<float, T>(f);
            return single;
        }

        var ok = TOp.TryFast(Unsafe.BitCast<T, double>(a), Unsafe.BitCast<T, double>(b), imm, mxcsr, out var d);
        result = Unsafe.BitCast<double, T>(d);
        return ok;
    }

    /// <summary>The encoding of a float or double.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Bits<T>(T value) where T : unmanaged => typeof(T) == typeof(float) ? Unsafe.BitCast<T, uint>(value) : Unsafe.BitCast<T, ulong>(value);

    private static ref Op CompareRegister<T, TSignals>(Vcpu cpu, ref Op op) where T : unmanaged where TSignals : struct, IForm =>
        ref Compared<T, TSignals>(cpu, ref op, cpu.Xmm<T>(op.B).ToScalar());

    private static ref Op CompareMemory<T, TSignals>(Vcpu cpu, ref Op op) where T : unmanaged where TSignals : struct, IForm
    {
        if (!cpu.TryLoad<T>(ref op, out var b)) return ref cpu.Fault(ref op);
        return ref Compared<T, TSignals>(cpu, ref op, b);
    }

    // COMISx signals for quiet NaNs (TSignals is wide), UCOMISx does not.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op Compared<T, TSignals>(Vcpu cpu, ref Op op, T second) where T : unmanaged where TSignals : struct, IForm
    {
        var first = cpu.Xmm<T>(op.A).ToScalar();
        uint flags;
        if (typeof(T) == typeof(double) && FloatLanes.IsQuiet(Unsafe.BitCast<T, double>(first)) && FloatLanes.IsQuiet(Unsafe.BitCast<T, double>(second)))
        {
            var (x, y) = (Unsafe.BitCast<T, double>(first), Unsafe.BitCast<T, double>(second));
            flags = x == y ? 0x40u : x < y ? 1u : 0;
        }
        else if (typeof(T) == typeof(float) && FloatLanes.IsQuiet(Unsafe.BitCast<T, float>(first)) && FloatLanes.IsQuiet(Unsafe.BitCast<T, float>(second)))
        {
            var (x, y) = (Unsafe.BitCast<T, float>(first), Unsafe.BitCast<T, float>(second));
            flags = x == y ? 0x40u : x < y ? 1u : 0;
        }
        else
        {
            var raised = 0u;
            flags = typeof(T) == typeof(float)
                ? SoftFloat<Binary32>.CompareFlags(Bits(first), Bits(second), TSignals.IsWide, cpu.S.Mxcsr, ref raised)
                : SoftFloat<Binary64>.CompareFlags(Bits(first), Bits(second), TSignals.IsWide, cpu.S.Mxcsr, ref raised);
            if (Faults(cpu, raised)) return ref cpu.FloatFault(ref op);
        }

        cpu.S.SetArithmetic(flags);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op GroupedRegister<TOp, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IFloatGroup where TForm : struct, IForm =>
        ref Grouped<TOp, TForm>(cpu, ref op, cpu.Xmm<byte>(op.C), TForm.IsWide ? cpu.XmmHigh<byte>(op.C) : default);

    private static ref Op GroupedMemory<TOp, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IFloatGroup where TForm : struct, IForm
    {
        if (!cpu.TryLoadFull<TForm>(ref op, out var low, out var high)) return ref cpu.Fault(ref op);
        return ref Grouped<TOp, TForm>(cpu, ref op, low, high);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op Grouped<TOp, TForm>(Vcpu cpu, ref Op op, Vector128<byte> low, Vector128<byte> high) where TOp : struct, IFloatGroup where TForm : struct, IForm
    {
        var raised = 0u;
        low = TOp.Run(cpu.Xmm<byte>(op.B), low, (int)op.Imm, cpu.S.Mxcsr, ref raised);
        if (TForm.IsWide) high = TOp.Run(cpu.XmmHigh<byte>(op.B), high, (int)op.Imm, cpu.S.Mxcsr, ref raised);
        if (Faults(cpu, raised)) return ref cpu.FloatFault(ref op);
        cpu.SetVector<TForm>(op.A, low, high);
        return ref Vcpu.Next(ref op);
    }
}
