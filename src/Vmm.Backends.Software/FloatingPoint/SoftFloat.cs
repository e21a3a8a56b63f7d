// Intel SDM vol. 1, 11.5 and appendix E.4 (SSE/AVX arithmetic with all exceptions); IEEE 754-2019 section 5.
using System.Runtime.CompilerServices;

namespace Vmm.Backends.Software.FloatingPoint;

/// <summary>
/// The scalar arithmetic of SSE and AVX in one interchange format. Encodings are in the low bits of an <c>ulong</c>. Each
/// operation reads rounding, DAZ, FTZ and masks from MXCSR and adds the element's exceptions to an accumulator;
/// <see cref="Mxcsr.Commit"/> decides at the end of the instruction. The result is that of masked exceptions.
/// </summary>
internal static partial class SoftFloat<TFormat> where TFormat : struct, IBinaryFormat
{
    /// <summary>The default NaN.</summary>
    public static ulong Indefinite => TFormat.SignMask | TFormat.InfinityBits | 1UL << (TFormat.FractionBits - 1);

    /// <summary>One.</summary>
    public static ulong One => (ulong)TFormat.Bias << TFormat.FractionBits;

    /// <summary><c>a + b</c>.</summary>
    public static ulong Add(ulong a, ulong b, uint mxcsr, ref uint raised) => AddUnpacked(a, b, false, mxcsr, ref raised);

    /// <summary><c>a - b</c>.</summary>
    public static ulong Subtract(ulong a, ulong b, uint mxcsr, ref uint raised) => AddUnpacked(a, b, true, mxcsr, ref raised);

    /// <summary><c>a * b</c>.</summary>
    public static ulong Multiply(ulong a, ulong b, uint mxcsr, ref uint raised)
    {
        var x = Operand(a, mxcsr);
        var y = Operand(b, mxcsr);
        if (x.IsNaN || y.IsNaN)
        {
            return PropagateNaN(x, y, ref raised);
        }
        var infinite = x.Kind == FpClass.Infinity || y.Kind == FpClass.Infinity;
        var zero = x.Kind == FpClass.Zero || y.Kind == FpClass.Zero;
        if (infinite && zero)
        {
            return Invalid(ref raised);
        }
        if (StopsForDenormal(x.Denormal || y.Denormal, mxcsr, ref raised))
        {
            return 0;
        }
        return infinite ? Infinity(x.Sign ^ y.Sign)
            : zero ? Zero(x.Sign ^ y.Sign)
            : Round(Exact.Multiply(x, y), mxcsr, ref raised);
    }

    /// <summary><c>a / b</c>.</summary>
    public static ulong Divide(ulong a, ulong b, uint mxcsr, ref uint raised)
    {
        var x = Operand(a, mxcsr);
        var y = Operand(b, mxcsr);
        if (x.IsNaN || y.IsNaN)
        {
            return PropagateNaN(x, y, ref raised);
        }
        if (x.Kind == y.Kind && x.Kind != FpClass.Finite)
        {
            return Invalid(ref raised);
        }
        if (y.Kind == FpClass.Zero && x.Kind == FpClass.Finite)
        {
            raised |= FpFlags.ZeroDivide;
            return Infinity(x.Sign ^ y.Sign);
        }
        if (StopsForDenormal(x.Denormal || y.Denormal, mxcsr, ref raised))
        {
            return 0;
        }
        return x.Kind == FpClass.Infinity || y.Kind == FpClass.Zero ? Infinity(x.Sign ^ y.Sign)
            : x.Kind == FpClass.Zero || y.Kind == FpClass.Infinity ? Zero(x.Sign ^ y.Sign)
            : Round(Exact.Divide(x, y), mxcsr, ref raised);
    }

    /// <summary>The square root.</summary>
    public static ulong SquareRoot(ulong a, uint mxcsr, ref uint raised)
    {
        var x = Operand(a, mxcsr);
        if (x.IsNaN)
        {
            return PropagateNaN(x, x, ref raised);
        }
        if (x.Kind == FpClass.Zero)
        {
            return Zero(x.Sign);
        }
        if (x.Sign)
        {
            return Invalid(ref raised);
        }
        if (x.Kind == FpClass.Infinity)
        {
            return TFormat.InfinityBits;
        }
        return StopsForDenormal(x.Denormal, mxcsr, ref raised) ? 0 : Round(Exact.SquareRoot(x), mxcsr, ref raised);
    }

    /// <summary>
    /// <c>±(a * b) ± c</c> with one rounding. NaNs have the priority a, b, c, and their signs are not changed; for the 132, 213
    /// and 231 forms the caller puts the operands in the order of the formula.
    /// </summary>
    /// <param name="a">The first factor.</param>
    /// <param name="b">The second factor.</param>
    /// <param name="c">The addend.</param>
    /// <param name="negateProduct">VFNMADD and VFNMSUB.</param>
    /// <param name="negateAddend">VFMSUB and VFNMSUB.</param>
    /// <param name="mxcsr">MXCSR.</param>
    /// <param name="raised">The accumulator.</param>
    public static ulong MultiplyAdd(ulong a, ulong b, ulong c, bool negateProduct, bool negateAddend, uint mxcsr, ref uint raised)
    {
        var x = Operand(a, mxcsr);
        var y = Operand(b, mxcsr);
        var z = Operand(c, mxcsr);
        if (x.IsNaN || y.IsNaN || z.IsNaN)
        {
            var signaling = x.Kind == FpClass.SignalingNaN || y.Kind == FpClass.SignalingNaN || z.Kind == FpClass.SignalingNaN;
            raised |= signaling ? FpFlags.Invalid : 0;
            return (x.IsNaN ? x : y.IsNaN ? y : z).EncodeNaN<TFormat>();
        }
        x = negateProduct ? x.Negated : x;
        z = negateAddend ? z.Negated : z;
        var productSign = x.Sign ^ y.Sign;
        var infinite = x.Kind == FpClass.Infinity || y.Kind == FpClass.Infinity;
        var zero = x.Kind == FpClass.Zero || y.Kind == FpClass.Zero;
        if ((infinite && zero) || (infinite && z.Kind == FpClass.Infinity && productSign != z.Sign))
        {
            return Invalid(ref raised);
        }
        if (StopsForDenormal(x.Denormal || y.Denormal || z.Denormal, mxcsr, ref raised))
        {
            return 0;
        }
        if (infinite || z.Kind == FpClass.Infinity)
        {
            return Infinity(infinite ? productSign : z.Sign);
        }
        if (zero && z.Kind == FpClass.Zero)
        {
            return Zero(productSign == z.Sign ? productSign : Mxcsr.RoundingOf(mxcsr) == Rounding.Down);
        }
        var sum = zero ? Exact.From(z) : z.Kind == FpClass.Zero ? Exact.Multiply(x, y) : Exact.MultiplyAdd(x, y, z);
        return sum.IsZero ? Zero(Mxcsr.RoundingOf(mxcsr) == Rounding.Down) : Round(sum, mxcsr, ref raised);
    }

    /// <summary>MIN: the second operand when either is a NaN or both are zeros.</summary>
    public static ulong Minimum(ulong a, ulong b, uint mxcsr, ref uint raised) => Select(a, b, -1, mxcsr, ref raised);

    /// <summary>MAX: the second operand when either is a NaN or both are zeros.</summary>
    public static ulong Maximum(ulong a, ulong b, uint mxcsr, ref uint raised) => Select(a, b, 1, mxcsr, ref raised);

    /// <summary>ROUNDSS and its kin.</summary>
    /// <param name="a">The operand.</param>
    /// <param name="immediate">Bits 1:0 rounding, bit 2 use MXCSR.RC instead, bit 3 do not report PE.</param>
    /// <param name="mxcsr">MXCSR.</param>
    /// <param name="raised">The accumulator.</param>
    public static ulong RoundToIntegral(ulong a, int immediate, uint mxcsr, ref uint raised)
    {
        var x = Operand(a, mxcsr);
        if (x.IsNaN)
        {
            return PropagateNaN(x, x, ref raised);
        }
        if (x.Kind == FpClass.Zero)
        {
            return Zero(x.Sign);
        }
        if (x.Kind == FpClass.Infinity || x.Exponent >= TFormat.FractionBits)
        {
            return a;
        }
        var mode = (immediate & 4) != 0 ? Mxcsr.RoundingOf(mxcsr) : (Rounding)(immediate & 3);
        var magnitude = Rounder.ToInteger(x, mode, out var inexact, out _, out _);
        raised |= inexact && (immediate & 8) == 0 ? FpFlags.Precision : 0;
        if (magnitude == 0)
        {
            return Zero(x.Sign);
        }
        var rounded = Unpacked.FromMagnitude(x.Sign, magnitude);
        return Pack(x.Sign, rounded.Exponent, rounded.Significand);
    }

    /// <summary>Rounds and packs with masked responses, for FST as well.</summary>
    /// <param name="value">The exact, non-zero value.</param>
    /// <param name="mode">The rounding mode.</param>
    /// <param name="flushToZero">FTZ.</param>
    /// <param name="masked">The masked exceptions: an exact tiny result raises nothing while UE is among them.</param>
    /// <param name="raised">The accumulator.</param>
    /// <param name="up">Whether the magnitude was made larger.</param>
    internal static ulong Round(in Exact value, Rounding mode, bool flushToZero, uint masked, ref uint raised, out bool up)
    {
        var precision = TFormat.FractionBits + 1;
        var significand = Rounder.Round(value.High, value.Low, precision, mode, value.Sign, out var inexact, out up, out var carry);
        var exponent = value.Exponent;
        if (carry)
        {
            significand = 1UL << 63;
            exponent++;
        }
        if (exponent > TFormat.Bias)
        {
            raised |= FpFlags.Overflow | (inexact || (masked & FpFlags.Overflow) != 0 ? FpFlags.Precision : 0);
            up = mode == Rounding.Nearest || mode == (value.Sign ? Rounding.Down : Rounding.Up);
            return Infinity(value.Sign) - (up ? 0UL : 1UL);
        }
        if (exponent >= 1 - TFormat.Bias)
        {
            raised |= inexact ? FpFlags.Precision : 0;
            return Pack(value.Sign, exponent, significand);
        }
        var underflowMasked = (masked & FpFlags.Underflow) != 0;
        if (flushToZero || !underflowMasked)
        {
            raised |= FpFlags.Underflow | (inexact || underflowMasked ? FpFlags.Precision : 0);
            up = false;
            return Zero(value.Sign);
        }
        var wide = Exact.ShiftRightSticky(new UInt128(value.High, value.Low), Math.Min(1 - TFormat.Bias - value.Exponent, 128));
        significand = Rounder.Round((ulong)(wide >> 64), (ulong)wide, precision, mode, value.Sign, out inexact, out up, out _);
        raised |= inexact ? FpFlags.Underflow | FpFlags.Precision : 0;
        // Without the leading bit the exponent field is 0; a carry into it makes the smallest normal number.
        return Zero(value.Sign) + (significand >> (63 - TFormat.FractionBits));
    }

    private static ulong Round(in Exact value, uint mxcsr, ref uint raised) => Round(
        value, Mxcsr.RoundingOf(mxcsr), (mxcsr & Mxcsr.FlushToZero) != 0, Mxcsr.MasksOf(mxcsr), ref raised, out _);

    private static ulong AddUnpacked(ulong a, ulong b, bool subtract, uint mxcsr, ref uint raised)
    {
        var x = Operand(a, mxcsr);
        var y = Operand(b, mxcsr);
        if (x.IsNaN || y.IsNaN)
        {
            return PropagateNaN(x, y, ref raised);
        }
        y = subtract ? y.Negated : y;
        if (x.Kind == FpClass.Infinity && y.Kind == FpClass.Infinity && x.Sign != y.Sign)
        {
            return Invalid(ref raised);
        }
        if (StopsForDenormal(x.Denormal || y.Denormal, mxcsr, ref raised))
        {
            return 0;
        }
        if (x.Kind == FpClass.Infinity || y.Kind == FpClass.Infinity)
        {
            return Infinity(x.Kind == FpClass.Infinity ? x.Sign : y.Sign);
        }
        if (x.Kind == FpClass.Zero && y.Kind == FpClass.Zero)
        {
            return Zero(x.Sign == y.Sign ? x.Sign : Mxcsr.RoundingOf(mxcsr) == Rounding.Down);
        }
        var sum = x.Kind == FpClass.Zero ? Exact.From(y) : y.Kind == FpClass.Zero ? Exact.From(x) : Exact.Add(x, y);
        return sum.IsZero ? Zero(Mxcsr.RoundingOf(mxcsr) == Rounding.Down) : Round(sum, mxcsr, ref raised);
    }

    private static ulong Select(ulong a, ulong b, int wanted, uint mxcsr, ref uint raised)
    {
        var x = Operand(a, mxcsr);
        var y = Operand(b, mxcsr);
        if (x.IsNaN || y.IsNaN)
        {
            raised |= FpFlags.Invalid;
            return y.Kind == FpClass.Zero ? Zero(y.Sign) : b;
        }
        raised |= x.Denormal || y.Denormal ? FpFlags.Denormal : 0;
        var first = Math.Sign(X87Math.Order(x, y)) == wanted;
        var chosen = first ? x : y;
        return chosen.Kind == FpClass.Zero ? Zero(chosen.Sign) : first ? a : b;
    }

    /// <summary>Takes an operand apart, denormals being zeros under DAZ.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Unpacked Operand(ulong bits, uint mxcsr)
    {
        var operand = Unpacked.Decode<TFormat>(bits);
        return operand.Denormal && (mxcsr & Mxcsr.DenormalsAreZeros) != 0 ? new(FpClass.Zero, operand.Sign, 0, 0) : operand;
    }

    private static bool StopsForDenormal(bool denormal, uint mxcsr, ref uint raised)
    {
        if (!denormal)
        {
            return false;
        }
        raised |= FpFlags.Denormal;
        return !Mxcsr.IsMasked(mxcsr, FpFlags.Denormal);
    }

    private static ulong Invalid(ref uint raised)
    {
        raised |= FpFlags.Invalid;
        return Indefinite;
    }

    // SDM vol. 1, table 4-7: the first source operand if it is a NaN, else the second, quieted.
    private static ulong PropagateNaN(in Unpacked a, in Unpacked b, ref uint raised)
    {
        raised |= a.Kind == FpClass.SignalingNaN || b.Kind == FpClass.SignalingNaN ? FpFlags.Invalid : 0;
        return (a.IsNaN ? a : b).EncodeNaN<TFormat>();
    }

    private static ulong Zero(bool sign) => sign ? TFormat.SignMask : 0;

    private static ulong Infinity(bool sign) => Zero(sign) | TFormat.InfinityBits;

    private static ulong Pack(bool sign, int exponent, ulong significand) =>
        Zero(sign) | (ulong)(exponent + TFormat.Bias) << TFormat.FractionBits
        | (significand >> (63 - TFormat.FractionBits) & TFormat.FractionMask);
}
