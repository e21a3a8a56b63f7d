// Intel SDM vol. 1, 10.4 to 10.6 and 11.5; vol. 2: the floating-point instructions of SSE and AVX, lane by lane.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Vmm.Backends.Software.FloatingPoint;

namespace Vmm.Backends.Software.Interpret;

/// <summary>An operation on two elements of binary32 or binary64.</summary>
internal interface IFloatBinary
{
    /// <summary>The element with all exceptions; encodings are in the low bits.</summary>
    static abstract ulong Exact<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint raised) where TFormat : struct, IBinaryFormat;

    /// <summary>All lanes by the host, where that cannot be told from the exact way; T is float or double.</summary>
    static virtual bool TryFast<T>(Vector128<T> a, Vector128<T> b, int imm, uint mxcsr, out Vector128<T> result) where T : unmanaged
    {
        result = default;
        return false;
    }

    /// <summary>The lowest element by the host.</summary>
    static virtual bool TryFast(double a, double b, int imm, uint mxcsr, out double result)
    {
        result = 0;
        return false;
    }

    /// <summary>The lowest element by the host.</summary>
    static virtual bool TryFast(float a, float b, int imm, uint mxcsr, out float result)
    {
        result = 0;
        return false;
    }
}

/// <summary>An operation on one element of binary32 or binary64.</summary>
internal interface IFloatUnary
{
    /// <inheritdoc cref="IFloatBinary.Exact"/>
    static abstract ulong Exact<TFormat>(ulong a, int imm, uint mxcsr, ref uint raised) where TFormat : struct, IBinaryFormat;

    /// <summary>All lanes by the host, where that cannot be told from the exact way; T is float or double.</summary>
    static virtual bool TryFast<T>(Vector128<T> a, int imm, uint mxcsr, out Vector128<T> result) where T : unmanaged
    {
        result = default;
        return false;
    }
}

/// <summary>Floating-point operations by lane.</summary>
internal static class FloatLanes
{
    internal readonly struct AddFloat : IFloatBinary
    {
        public static ulong Exact<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint raised) where TFormat : struct, IBinaryFormat =>
            SoftFloat<TFormat>.Add(a, b, mxcsr, ref raised);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryFast<T>(Vector128<T> a, Vector128<T> b, int imm, uint mxcsr, out Vector128<T> result) where T : unmanaged =>
            SseFast.TryAdd(a, b, false, out result) && SseFast.IsEligible(mxcsr);

        public static bool TryFast(double a, double b, int imm, uint mxcsr, out double result) => SseFast.TryAdd(a, b, out result) && SseFast.IsEligible(mxcsr);

        public static bool TryFast(float a, float b, int imm, uint mxcsr, out float result) => SseFast.TryAdd(a, b, out result) && SseFast.IsEligible(mxcsr);
    }

    internal readonly struct SubFloat : IFloatBinary
    {
        public static ulong Exact<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint raised) where TFormat : struct, IBinaryFormat =>
            SoftFloat<TFormat>.Subtract(a, b, mxcsr, ref raised);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryFast<T>(Vector128<T> a, Vector128<T> b, int imm, uint mxcsr, out Vector128<T> result) where T : unmanaged =>
            SseFast.TryAdd(a, b, true, out result) && SseFast.IsEligible(mxcsr);

        public static bool TryFast(double a, double b, int imm, uint mxcsr, out double result) => SseFast.TrySubtract(a, b, out result) && SseFast.IsEligible(mxcsr);

        public static bool TryFast(float a, float b, int imm, uint mxcsr, out float result) => SseFast.TrySubtract(a, b, out result) && SseFast.IsEligible(mxcsr);
    }

    internal readonly struct MulFloat : IFloatBinary
    {
        public static ulong Exact<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint raised) where TFormat : struct, IBinaryFormat =>
            SoftFloat<TFormat>.Multiply(a, b, mxcsr, ref raised);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryFast<T>(Vector128<T> a, Vector128<T> b, int imm, uint mxcsr, out Vector128<T> result) where T : unmanaged =>
            SseFast.TryMultiply(a, b, out result) && SseFast.IsEligible(mxcsr);

        public static bool TryFast(double a, double b, int imm, uint mxcsr, out double result) => SseFast.TryMultiply(a, b, out result) && SseFast.IsEligible(mxcsr);

        public static bool TryFast(float a, float b, int imm, uint mxcsr, out float result) => SseFast.TryMultiply(a, b, out result) && SseFast.IsEligible(mxcsr);
    }

    internal readonly struct DivFloat : IFloatBinary
    {
        public static ulong Exact<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint raised) where TFormat : struct, IBinaryFormat =>
            SoftFloat<TFormat>.Divide(a, b, mxcsr, ref raised);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryFast<T>(Vector128<T> a, Vector128<T> b, int imm, uint mxcsr, out Vector128<T> result) where T : unmanaged =>
            SseFast.TryDivide(a, b, out result) && SseFast.IsEligible(mxcsr);

        public static bool TryFast(double a, double b, int imm, uint mxcsr, out double result) => SseFast.TryDivide(a, b, out result) && SseFast.IsEligible(mxcsr);

        public static bool TryFast(float a, float b, int imm, uint mxcsr, out float result) => SseFast.TryDivide(a, b, out result) && SseFast.IsEligible(mxcsr);
    }

    internal readonly struct MinFloat : IFloatBinary
    {
        public static ulong Exact<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint raised) where TFormat : struct, IBinaryFormat =>
            SoftFloat<TFormat>.Minimum(a, b, mxcsr, ref raised);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryFast<T>(Vector128<T> a, Vector128<T> b, int imm, uint mxcsr, out Vector128<T> result) where T : unmanaged
        {
            result = Vector128.ConditionalSelect(Vector128.LessThan(a, b), a, b);
            return AreQuiet(a, b);
        }

        public static bool TryFast(double a, double b, int imm, uint mxcsr, out double result)
        {
            result = a < b ? a : b;
            return IsQuiet(a) && IsQuiet(b);
        }

        public static bool TryFast(float a, float b, int imm, uint mxcsr, out float result)
        {
            result = a < b ? a : b;
            return IsQuiet(a) && IsQuiet(b);
        }
    }

    internal readonly struct MaxFloat : IFloatBinary
    {
        public static ulong Exact<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint raised) where TFormat : struct, IBinaryFormat =>
            SoftFloat<TFormat>.Maximum(a, b, mxcsr, ref raised);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryFast<T>(Vector128<T> a, Vector128<T> b, int imm, uint mxcsr, out Vector128<T> result) where T : unmanaged
        {
            result = Vector128.ConditionalSelect(Vector128.GreaterThan(a, b), a, b);
            return AreQuiet(a, b);
        }

        public static bool TryFast(double a, double b, int imm, uint mxcsr, out double result)
        {
            result = a > b ? a : b;
            return IsQuiet(a) && IsQuiet(b);
        }

        public static bool TryFast(float a, float b, int imm, uint mxcsr, out float result)
        {
            result = a > b ? a : b;
            return IsQuiet(a) && IsQuiet(b);
        }
    }

    /// <summary>CMPPS and its kin: the binder has cut the predicate to the bits that the encoding has.</summary>
    internal readonly struct CompareFloat : IFloatBinary
    {
        public static ulong Exact<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint raised) where TFormat : struct, IBinaryFormat =>
            SoftFloat<TFormat>.Compare(a, b, imm, mxcsr, ref raised) ? ulong.MaxValue : 0;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryFast<T>(Vector128<T> a, Vector128<T> b, int imm, uint mxcsr, out Vector128<T> result) where T : unmanaged
        {
            // Predicates 8 to 31 differ from 0 to 7 only for NaNs.
            result = (imm & 7) switch
            {
                0 => Vector128.Equals(a, b),
                1 => Vector128.LessThan(a, b),
                2 => Vector128.LessThanOrEqual(a, b),
                3 => Vector128<T>.Zero,
                4 => ~Vector128.Equals(a, b),
                5 => Vector128.GreaterThanOrEqual(a, b),
                6 => Vector128.GreaterThan(a, b),
                _ => Vector128<T>.AllBitsSet,
            };
            return AreQuiet(a, b);
        }

        public static bool TryFast(double a, double b, int imm, uint mxcsr, out double result)
        {
            result = Holds(a, b, imm) ? BitConverter.UInt64BitsToDouble(ulong.MaxValue) : 0;
            return IsQuiet(a) && IsQuiet(b);
        }

        public static bool TryFast(float a, float b, int imm, uint mxcsr, out float result)
        {
            result = Holds(a, b, imm) ? BitConverter.UInt32BitsToSingle(uint.MaxValue) : 0;
            return IsQuiet(a) && IsQuiet(b);
        }

        private static bool Holds(double a, double b, int imm) => (imm & 7) switch
        {
            0 => a == b,
            1 => a < b,
            2 => a <= b,
            3 => false,
            4 => a != b,
            5 => a >= b,
            6 => a > b,
            _ => true,
        };
    }

    internal readonly struct SquareRootFloat : IFloatUnary
    {
        public static ulong Exact<TFormat>(ulong a, int imm, uint mxcsr, ref uint raised) where TFormat : struct, IBinaryFormat =>
            SoftFloat<TFormat>.SquareRoot(a, mxcsr, ref raised);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryFast<T>(Vector128<T> a, int imm, uint mxcsr, out Vector128<T> result) where T : unmanaged =>
            SseFast.TrySquareRoot(a, out result) && SseFast.IsEligible(mxcsr);
    }

    /// <summary>ROUNDPS and its kin.</summary>
    internal readonly struct RoundFloat : IFloatUnary
    {
        public static ulong Exact<TFormat>(ulong a, int imm, uint mxcsr, ref uint raised) where TFormat : struct, IBinaryFormat =>
            SoftFloat<TFormat>.RoundToIntegral(a, imm, mxcsr, ref raised);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryFast<T>(Vector128<T> a, int imm, uint mxcsr, out Vector128<T> result) where T : unmanaged
        {
            var mode = (imm & 4) != 0 ? Mxcsr.RoundingOf(mxcsr) : (Rounding)(imm & 3);
            result = typeof(T) == typeof(float) ? Rounded(a.AsSingle(), mode).As<float, T>() : Rounded(a.AsDouble(), mode).As<double, T>();
            // PE is not asked for, or is set already and masked.
            return ((imm & 8) != 0 || (mxcsr & PrecisionSetAndMasked) == PrecisionSetAndMasked) && AreQuiet(a, a);
        }

        private const uint PrecisionSetAndMasked = 0x1020;

        private static Vector128<float> Rounded(Vector128<float> a, Rounding mode) => mode switch
        {
            Rounding.Nearest => Vector128.Round(a),
            Rounding.Down => Vector128.Floor(a),
            Rounding.Up => Vector128.Ceiling(a),
            _ => Vector128.Truncate(a),
        };

        private static Vector128<double> Rounded(Vector128<double> a, Rounding mode) => mode switch
        {
            Rounding.Nearest => Vector128.Round(a),
            Rounding.Down => Vector128.Floor(a),
            Rounding.Up => Vector128.Ceiling(a),
            _ => Vector128.Truncate(a),
        };
    }

    internal readonly struct ReciprocalFloat : IFloatUnary
    {
        public static ulong Exact<TFormat>(ulong a, int imm, uint mxcsr, ref uint raised) where TFormat : struct, IBinaryFormat => Approximation.Reciprocal((uint)a);
    }

    internal readonly struct ReciprocalRootFloat : IFloatUnary
    {
        public static ulong Exact<TFormat>(ulong a, int imm, uint mxcsr, ref uint raised) where TFormat : struct, IBinaryFormat => Approximation.ReciprocalSquareRoot((uint)a);
    }

    /// <summary>CVTDQ2PS.</summary>
    internal readonly struct FromDword : IFloatUnary
    {
        public static ulong Exact<TFormat>(ulong a, int imm, uint mxcsr, ref uint raised) where TFormat : struct, IBinaryFormat =>
            SoftFloat<TFormat>.FromInteger((int)a, mxcsr, ref raised);

        public static bool TryFast<T>(Vector128<T> a, int imm, uint mxcsr, out Vector128<T> result) where T : unmanaged
        {
            result = Vector128.ConvertToSingle(a.AsInt32()).As<float, T>();
            return SseFast.IsEligible(mxcsr);
        }
    }

    /// <summary>CVTPS2DQ.</summary>
    internal readonly struct ToDword : IFloatUnary
    {
        public static ulong Exact<TFormat>(ulong a, int imm, uint mxcsr, ref uint raised) where TFormat : struct, IBinaryFormat =>
            (ulong)SoftFloat<TFormat>.ToInteger(a, 32, false, mxcsr, ref raised);
    }

    /// <summary>CVTTPS2DQ.</summary>
    internal readonly struct ToDwordTruncated : IFloatUnary
    {
        public static ulong Exact<TFormat>(ulong a, int imm, uint mxcsr, ref uint raised) where TFormat : struct, IBinaryFormat =>
            (ulong)SoftFloat<TFormat>.ToInteger(a, 32, true, mxcsr, ref raised);
    }

    /// <summary>The scalar form of a unary operation: the first source gives only the upper lanes.</summary>
    internal readonly struct OfSecond<TOp> : IFloatBinary where TOp : struct, IFloatUnary
    {
        public static ulong Exact<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint raised) where TFormat : struct, IBinaryFormat =>
            TOp.Exact<TFormat>(b, imm, mxcsr, ref raised);

        public static bool TryFast(double a, double b, int imm, uint mxcsr, out double result)
        {
            var fast = TOp.TryFast(Vector128.Create(b), imm, mxcsr, out var lanes);
            result = lanes.ToScalar();
            return fast;
        }

        public static bool TryFast(float a, float b, int imm, uint mxcsr, out float result)
        {
            var fast = TOp.TryFast(Vector128.Create(b), imm, mxcsr, out var lanes);
            result = lanes.ToScalar();
            return fast;
        }
    }

    /// <summary>Whether comparing cannot raise anything: neither NaN nor denormal.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool IsQuiet(double value) => !double.IsNaN(value) && !double.IsSubnormal(value);

    /// <inheritdoc cref="IsQuiet(double)"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool IsQuiet(float value) => !float.IsNaN(value) && !float.IsSubnormal(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool AreQuiet<T>(Vector128<T> a, Vector128<T> b) where T : unmanaged
    {
        if (typeof(T) == typeof(float))
        {
            var loud = Loud(a.AsInt32(), 0x0080_0000, 0x7F80_0000) | Loud(b.AsInt32(), 0x0080_0000, 0x7F80_0000);
            return loud == Vector128<int>.Zero;
        }

        var wide = Loud(a.AsInt64(), 0x0010_0000_0000_0000, 0x7FF0_0000_0000_0000) | Loud(b.AsInt64(), 0x0010_0000_0000_0000, 0x7FF0_0000_0000_0000);
        return wide == Vector128<long>.Zero;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<int> Loud(Vector128<int> bits, int smallest, int infinity)
    {
        var magnitude = bits & Vector128.Create(int.MaxValue);
        return Vector128.GreaterThan(magnitude, Vector128.Create(infinity))
            | (Vector128.LessThan(magnitude, Vector128.Create(smallest)) & ~Vector128.Equals(magnitude, Vector128<int>.Zero));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<long> Loud(Vector128<long> bits, long smallest, long infinity)
    {
        var magnitude = bits & Vector128.Create(long.MaxValue);
        return Vector128.GreaterThan(magnitude, Vector128.Create(infinity))
            | (Vector128.LessThan(magnitude, Vector128.Create(smallest)) & ~Vector128.Equals(magnitude, Vector128<long>.Zero));
    }
}
