// IEEE 754-2019: the host's own arithmetic where it cannot be told from SoftFloat.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Vmm.Backends.Software.FloatingPoint;

/// <summary>
/// SSE arithmetic by the host: right while MXCSR is <see cref="IsEligible"/>, the operands are normal or zero and the result is
/// normal, or a zero that is exact. Every method tells whether that was so; if not, <see cref="SoftFloat{TFormat}"/> decides.
/// Results of the smallest normal exponent are refused as well, since rounding may have lifted them over the edge of underflow.
/// </summary>
internal static class SseFast
{
    private const uint Controls = 0xFFC0 | FpFlags.Precision;
    private const uint Wanted = 0x1F80 | FpFlags.Precision;

    /// <summary>Round to nearest, no DAZ or FTZ, all masked, and PE already set, so that inexact results change nothing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsEligible(uint mxcsr) => (mxcsr & Controls) == Wanted;

    /// <summary><c>a + b</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryAdd(double a, double b, out double result)
    {
        result = a + b;
        return IsOrdinary(a) && IsOrdinary(b) && (IsSafe(result) || result == 0);
    }

    /// <inheritdoc cref="TryAdd(double, double, out double)"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryAdd(float a, float b, out float result)
    {
        result = a + b;
        return IsOrdinary(a) && IsOrdinary(b) && (IsSafe(result) || result == 0);
    }

    /// <summary><c>a - b</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TrySubtract(double a, double b, out double result)
    {
        result = a - b;
        return IsOrdinary(a) && IsOrdinary(b) && (IsSafe(result) || result == 0);
    }

    /// <inheritdoc cref="TrySubtract(double, double, out double)"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TrySubtract(float a, float b, out float result)
    {
        result = a - b;
        return IsOrdinary(a) && IsOrdinary(b) && (IsSafe(result) || result == 0);
    }

    /// <summary><c>a * b</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryMultiply(double a, double b, out double result)
    {
        result = a * b;
        return IsOrdinary(a) && IsOrdinary(b) && (IsSafe(result) || a == 0 || b == 0);
    }

    /// <inheritdoc cref="TryMultiply(double, double, out double)"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryMultiply(float a, float b, out float result)
    {
        result = a * b;
        return IsOrdinary(a) && IsOrdinary(b) && (IsSafe(result) || a == 0 || b == 0);
    }

    /// <summary><c>a / b</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryDivide(double a, double b, out double result)
    {
        result = a / b;
        return IsOrdinary(a) && IsOrdinary(b) && b != 0 && (IsSafe(result) || a == 0);
    }

    /// <inheritdoc cref="TryDivide(double, double, out double)"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryDivide(float a, float b, out float result)
    {
        result = a / b;
        return IsOrdinary(a) && IsOrdinary(b) && b != 0 && (IsSafe(result) || a == 0);
    }

    /// <summary>The square root; a normal root has a normal operand.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TrySquareRoot(double a, out double result)
    {
        result = Math.Sqrt(a);
        return IsOrdinary(a) && (IsSafe(result) || a == 0);
    }

    /// <inheritdoc cref="TrySquareRoot(double, out double)"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TrySquareRoot(float a, out float result)
    {
        result = MathF.Sqrt(a);
        return IsOrdinary(a) && (IsSafe(result) || a == 0);
    }

    /// <summary><c>a * b + c</c>; operands already negated as the instruction says.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryMultiplyAdd(double a, double b, double c, out double result)
    {
        result = Math.FusedMultiplyAdd(a, b, c);
        return IsOrdinary(a) && IsOrdinary(b) && IsOrdinary(c) && IsSafe(result);
    }

    /// <inheritdoc cref="TryMultiplyAdd(double, double, double, out double)"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryMultiplyAdd(float a, float b, float c, out float result)
    {
        result = MathF.FusedMultiplyAdd(a, b, c);
        return IsOrdinary(a) && IsOrdinary(b) && IsOrdinary(c) && IsSafe(result);
    }

    /// <summary><c>a + b</c> (or <c>a - b</c>) in all lanes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryAdd<T>(Vector128<T> a, Vector128<T> b, bool subtract, out Vector128<T> result) where T : unmanaged
    {
        result = subtract ? a - b : a + b;
        return All(Ordinary(a) & Ordinary(b) & (Safe(result) | IsZero(result)));
    }

    /// <inheritdoc cref="TryAdd{T}(Vector128{T}, Vector128{T}, bool, out Vector128{T})"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryAdd<T>(Vector256<T> a, Vector256<T> b, bool subtract, out Vector256<T> result) where T : unmanaged
    {
        result = subtract ? a - b : a + b;
        return All(Ordinary(a) & Ordinary(b) & (Safe(result) | IsZero(result)));
    }

    /// <summary><c>a * b</c> in all lanes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryMultiply<T>(Vector128<T> a, Vector128<T> b, out Vector128<T> result) where T : unmanaged
    {
        result = a * b;
        return All(Ordinary(a) & Ordinary(b) & (Safe(result) | IsZero(a) | IsZero(b)));
    }

    /// <inheritdoc cref="TryMultiply{T}(Vector128{T}, Vector128{T}, out Vector128{T})"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryMultiply<T>(Vector256<T> a, Vector256<T> b, out Vector256<T> result) where T : unmanaged
    {
        result = a * b;
        return All(Ordinary(a) & Ordinary(b) & (Safe(result) | IsZero(a) | IsZero(b)));
    }

    /// <summary><c>a / b</c> in all lanes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryDivide<T>(Vector128<T> a, Vector128<T> b, out Vector128<T> result) where T : unmanaged
    {
        result = a / b;
        return All(Ordinary(a) & Normal(b) & (Safe(result) | IsZero(a)));
    }

    /// <inheritdoc cref="TryDivide{T}(Vector128{T}, Vector128{T}, out Vector128{T})"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryDivide<T>(Vector256<T> a, Vector256<T> b, out Vector256<T> result) where T : unmanaged
    {
        result = a / b;
        return All(Ordinary(a) & Normal(b) & (Safe(result) | IsZero(a)));
    }

    /// <summary>The square roots of all lanes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TrySquareRoot<T>(Vector128<T> a, out Vector128<T> result) where T : unmanaged
    {
        result = Vector128.Sqrt(a);
        return All(Ordinary(a) & (Safe(result) | IsZero(a)));
    }

    /// <inheritdoc cref="TrySquareRoot{T}(Vector128{T}, out Vector128{T})"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TrySquareRoot<T>(Vector256<T> a, out Vector256<T> result) where T : unmanaged
    {
        result = Vector256.Sqrt(a);
        return All(Ordinary(a) & (Safe(result) | IsZero(a)));
    }

    /// <summary><c>a * b + c</c> in all lanes, for <c>float</c> and <c>double</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryMultiplyAdd<T>(Vector128<T> a, Vector128<T> b, Vector128<T> c, out Vector128<T> result) where T : unmanaged
    {
        result = typeof(T) == typeof(float)
            ? Vector128.FusedMultiplyAdd(a.AsSingle(), b.AsSingle(), c.AsSingle()).As<float, T>()
            : Vector128.FusedMultiplyAdd(a.AsDouble(), b.AsDouble(), c.AsDouble()).As<double, T>();
        return All(Ordinary(a) & Ordinary(b) & Ordinary(c) & Safe(result));
    }

    /// <inheritdoc cref="TryMultiplyAdd{T}(Vector128{T}, Vector128{T}, Vector128{T}, out Vector128{T})"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryMultiplyAdd<T>(Vector256<T> a, Vector256<T> b, Vector256<T> c, out Vector256<T> result) where T : unmanaged
    {
        result = typeof(T) == typeof(float)
            ? Vector256.FusedMultiplyAdd(a.AsSingle(), b.AsSingle(), c.AsSingle()).As<float, T>()
            : Vector256.FusedMultiplyAdd(a.AsDouble(), b.AsDouble(), c.AsDouble()).As<double, T>();
        return All(Ordinary(a) & Ordinary(b) & Ordinary(c) & Safe(result));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsOrdinary(double value) => double.IsNormal(value) || value == 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsOrdinary(float value) => float.IsNormal(value) || value == 0;

    // 2^-1022 excluded; infinities and NaNs fail the comparisons.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsSafe(double value) => Math.Abs(value) is > 2.2250738585072014E-308 and <= double.MaxValue;

    // 2^-126 excluded.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsSafe(float value) => MathF.Abs(value) is > 1.17549435E-38f and <= float.MaxValue;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<T> Ordinary<T>(Vector128<T> value) where T : unmanaged => Normal(value) | IsZero(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<T> Ordinary<T>(Vector256<T> value) where T : unmanaged => Normal(value) | IsZero(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<T> Normal<T>(Vector128<T> value) where T : unmanaged
    {
        var magnitude = Vector128.Abs(value);
        return Vector128.GreaterThanOrEqual(magnitude, Vector128.Create(Smallest<T>())) & Vector128.LessThanOrEqual(magnitude, Vector128.Create(Largest<T>()));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<T> Normal<T>(Vector256<T> value) where T : unmanaged
    {
        var magnitude = Vector256.Abs(value);
        return Vector256.GreaterThanOrEqual(magnitude, Vector256.Create(Smallest<T>())) & Vector256.LessThanOrEqual(magnitude, Vector256.Create(Largest<T>()));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<T> Safe<T>(Vector128<T> value) where T : unmanaged
    {
        var magnitude = Vector128.Abs(value);
        return Vector128.GreaterThan(magnitude, Vector128.Create(Smallest<T>())) & Vector128.LessThanOrEqual(magnitude, Vector128.Create(Largest<T>()));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<T> Safe<T>(Vector256<T> value) where T : unmanaged
    {
        var magnitude = Vector256.Abs(value);
        return Vector256.GreaterThan(magnitude, Vector256.Create(Smallest<T>())) & Vector256.LessThanOrEqual(magnitude, Vector256.Create(Largest<T>()));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<T> IsZero<T>(Vector128<T> value) where T : unmanaged => Vector128.Equals(value, Vector128<T>.Zero);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<T> IsZero<T>(Vector256<T> value) where T : unmanaged => Vector256.Equals(value, Vector256<T>.Zero);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool All<T>(Vector128<T> lanes) where T : unmanaged => lanes.AsUInt64() == Vector128<ulong>.AllBitsSet;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool All<T>(Vector256<T> lanes) where T : unmanaged => lanes.AsUInt64() == Vector256<ulong>.AllBitsSet;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T Smallest<T>() where T : unmanaged =>
        typeof(T) == typeof(float) ? (T)(object)1.17549435E-38f : (T)(object)2.2250738585072014E-308;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T Largest<T>() where T : unmanaged => typeof(T) == typeof(float) ? (T)(object)float.MaxValue : (T)(object)double.MaxValue;
}
