// IEEE 754-2019 section 5.4: the operations as if with unbounded range and precision, before rounding.
using System.Runtime.CompilerServices;

namespace Vmm.Backends.Software.FloatingPoint;

/// <summary>
/// A result before rounding: <c>(High:Low) * 2^(Exponent - 127)</c>, bit 127 set, and the lowest bit of Low standing for
/// everything below it ("sticky"). All zero bits mean an exact zero.
/// </summary>
internal readonly struct Exact(bool sign, int exponent, ulong high, ulong low)
{
    /// <summary>True when negative.</summary>
    public readonly bool Sign = sign;

    /// <summary>Exponent of bit 127.</summary>
    public readonly int Exponent = exponent;

    /// <summary>The upper half, normalised.</summary>
    public readonly ulong High = high;

    /// <summary>The lower half with the sticky bit.</summary>
    public readonly ulong Low = low;

    /// <summary>Whether the result is exactly zero (the sign is then the caller's affair).</summary>
    public bool IsZero => High == 0;

    /// <summary>A finite operand as a result.</summary>
    public static Exact From(in Unpacked a) => new(a.Sign, a.Exponent, a.Significand, 0);

    /// <summary>Shifts right; every bit that falls out is kept as sticky bit 0.</summary>
    public static UInt128 ShiftRightSticky(UInt128 value, int count)
    {
        if (count == 0)
        {
            return value;
        }
        if (count >= 128)
        {
            return value == 0 ? UInt128.Zero : UInt128.One;
        }
        var shifted = value >> count;
        return shifted << count == value ? shifted : shifted | UInt128.One;
    }

    /// <summary>Normalises a 128-bit significand whose bit 127 has the weight <paramref name="exponent"/>.</summary>
    public static Exact Normalize(bool sign, int exponent, UInt128 significand)
    {
        if (significand == 0)
        {
            return default;
        }
        var shift = (int)UInt128.LeadingZeroCount(significand);
        significand <<= shift;
        return new(sign, exponent - shift, (ulong)(significand >> 64), (ulong)significand);
    }

    /// <summary>The sum of two finite, non-zero operands.</summary>
    public static Exact Add(in Unpacked a, in Unpacked b) =>
        AddWide(a.Sign, a.Exponent, (UInt128)a.Significand << 63, b.Sign, b.Exponent, (UInt128)b.Significand << 63);

    /// <summary>The product of two finite, non-zero operands.</summary>
    public static Exact Multiply(in Unpacked a, in Unpacked b)
    {
        var high = Math.BigMul(a.Significand, b.Significand, out var low);
        var exponent = a.Exponent + b.Exponent + 1;
        return (long)high < 0
            ? new(a.Sign ^ b.Sign, exponent, high, low)
            : new(a.Sign ^ b.Sign, exponent - 1, high << 1 | low >> 63, low << 1);
    }

    /// <summary>The product of two finite, non-zero operands plus a third; significands of at most 53 bits.</summary>
    public static Exact MultiplyAdd(in Unpacked a, in Unpacked b, in Unpacked c)
    {
        var product = Multiply(a, b);
        var wide = new UInt128(product.High, product.Low) >> 1; // at most 106 bits are set, so nothing falls out
        return AddWide(product.Sign, product.Exponent, wide, c.Sign, c.Exponent, (UInt128)c.Significand << 63);
    }

    /// <summary>The quotient of two finite, non-zero operands.</summary>
    public static Exact Divide(in Unpacked a, in Unpacked b)
    {
        var less = a.Significand < b.Significand;
        var dividend = (UInt128)a.Significand << (less ? 64 : 63);
        var quotient = (ulong)(dividend / b.Significand);
        var remainder = (ulong)dividend - quotient * b.Significand;
        var half = remainder >= b.Significand - remainder && remainder != 0;
        var rest = half ? remainder != b.Significand - remainder : remainder != 0;
        return new(a.Sign ^ b.Sign, a.Exponent - b.Exponent - (less ? 1 : 0), quotient, (half ? 1UL << 63 : 0) | (rest ? 1UL : 0));
    }

    /// <summary>The square root of a finite, positive operand.</summary>
    public static Exact SquareRoot(in Unpacked a)
    {
        var odd = (a.Exponent & 1) != 0;
        var square = (UInt128)a.Significand << (odd ? 64 : 63);
        var root = FloorSquareRoot(square);
        var remainder = square - (UInt128)root * root;
        var low = (remainder > root ? 1UL << 63 : 0) | (remainder != 0 ? 1UL : 0);
        return new(false, (a.Exponent - (odd ? 1 : 0)) / 2, root, low);
    }

    private static ulong FloorSquareRoot(UInt128 square)
    {
        // The double root is good to about 52 bits; one Newton step makes it good to a unit, the loops make it exact.
        var estimate = Math.Sqrt((double)square);
        var root = estimate >= 18446744073709549568.0 ? ulong.MaxValue : (ulong)estimate;
        var next = (root + square / root) >> 1;
        root = next > ulong.MaxValue ? ulong.MaxValue : (ulong)next;
        while ((UInt128)root * root > square)
        {
            root--;
        }
        while (root != ulong.MaxValue && (UInt128)(root + 1) * (root + 1) <= square)
        {
            root++;
        }
        return root;
    }

    // Significands have bit 126 set and bit 127 clear; exponents are those of bit 126.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Exact AddWide(bool signA, int exponentA, UInt128 a, bool signB, int exponentB, UInt128 b)
    {
        if (exponentA < exponentB || (exponentA == exponentB && a < b))
        {
            (signA, signB, exponentA, exponentB, a, b) = (signB, signA, exponentB, exponentA, b, a);
        }
        b = ShiftRightSticky(b, Math.Min(exponentA - exponentB, 128));
        return Normalize(signA, exponentA + 1, signA == signB ? a + b : a - b);
    }
}
