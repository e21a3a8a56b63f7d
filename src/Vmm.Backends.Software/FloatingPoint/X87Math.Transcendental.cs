// Intel SDM vol. 2: F2XM1, FYL2X, FYL2XP1, FSIN, FCOS, FSINCOS, FPTAN, FPATAN; vol. 1, 8.3.8 and 8.3.10.
namespace Vmm.Backends.Software.FloatingPoint;

internal static partial class X87Math
{
    // Pi times 2^64 as processors have it for argument reduction: 66 bits (SDM vol. 1, 8.3.8).
    private static UInt128 ReductionPi => new(3, 0x243F6A8885A308D3);

    /// <summary>FSIN. C2 is set, and the operand returned, when it is out of range (2^63 or more).</summary>
    public static Float80 Sine(in Float80 value, uint control, ref uint status)
    {
        if (TrySpecialAngle(value, control, ref status, out var a, out var special))
        {
            return special;
        }
        return a.Kind == FpClass.Zero ? value : RoundTranscendental(SineOf(Reduce(a, out var quadrant), quadrant, a.Sign), control, ref status);
    }

    /// <summary>FCOS. C2 as in <see cref="Sine"/>.</summary>
    public static Float80 Cosine(in Float80 value, uint control, ref uint status)
    {
        if (TrySpecialAngle(value, control, ref status, out var a, out var special))
        {
            return special;
        }
        return a.Kind == FpClass.Zero ? Float80.One : RoundTranscendental(CosineOf(Reduce(a, out var quadrant), quadrant), control, ref status);
    }

    /// <summary>FSINCOS: the sine (for ST0, later ST1) and the cosine (pushed). With C2 nothing is pushed.</summary>
    public static (Float80 Sine, Float80 Cosine) SineAndCosine(in Float80 value, uint control, ref uint status)
    {
        if (TrySpecialAngle(value, control, ref status, out var a, out var special))
        {
            return (special, special);
        }
        if (a.Kind == FpClass.Zero)
        {
            return (value, Float80.One);
        }
        var reduced = Reduce(a, out var quadrant);
        var cosineStatus = 0u;
        var sine = RoundTranscendental(SineOf(reduced, quadrant, a.Sign), control, ref status);
        var cosine = RoundTranscendental(CosineOf(reduced, quadrant), control, ref cosineStatus);
        // C1 is that of the value on top.
        status = status & ~FpFlags.C1 | cosineStatus;
        return (sine, cosine);
    }

    /// <summary>FPTAN: the tangent; the caller pushes <see cref="Float80.One"/> (or a NaN result again), unless C2 is set.</summary>
    public static Float80 Tangent(in Float80 value, uint control, ref uint status)
    {
        if (TrySpecialAngle(value, control, ref status, out var a, out var special))
        {
            return special;
        }
        if (a.Kind == FpClass.Zero)
        {
            return value;
        }
        if (a.Exponent < -62)
        {
            return RoundTranscendental(WideFloat.From(a), control, ref status); // just above the angle
        }
        var reduced = Reduce(a, out var quadrant);
        var (sine, cosine) = (Series.Sine(reduced), Series.Cosine(reduced));
        var tangent = (quadrant & 1) == 0 ? sine / cosine : -(cosine / sine);
        return RoundTranscendental(a.Sign ? -tangent : tangent, control, ref status);
    }

    /// <summary>FPATAN: the angle of the point (ST0, ST1).</summary>
    /// <param name="vertical">ST1.</param>
    /// <param name="horizontal">ST0.</param>
    /// <param name="control">The control word.</param>
    /// <param name="status">The accumulator.</param>
    public static Float80 ArcTangent(in Float80 vertical, in Float80 horizontal, uint control, ref uint status)
    {
        var y = vertical.Unpack();
        var x = horizontal.Unpack();
        if (x.IsNotNumber || y.IsNotNumber)
        {
            return PropagateNaN(x, y, ref status);
        }
        if (StopsForDenormal(x.Denormal || y.Denormal, control, ref status))
        {
            return default;
        }
        var left = x.Sign;
        if (y.Kind == FpClass.Zero || (x.Kind == FpClass.Infinity && y.Kind == FpClass.Finite))
        {
            return left ? RoundTranscendental(Signed(Series.Pi, y.Sign), control, ref status) : Float80.SignedZero(y.Sign);
        }
        WideFloat angle;
        if (x.Kind == FpClass.Infinity)
        {
            angle = left ? Series.Pi.Scaled(-2) + Series.Pi.Scaled(-1) : Series.Pi.Scaled(-2);
        }
        else if (y.Kind == FpClass.Infinity || x.Kind == FpClass.Zero)
        {
            angle = Series.Pi.Scaled(-1);
        }
        else
        {
            var (up, across) = (WideFloat.From(y).Absolute, WideFloat.From(x).Absolute);
            var steep = up.CompareMagnitude(across) > 0;
            var first = Series.ArcTangent(steep ? across / up : up / across);
            angle = steep ? left ? Series.Pi.Scaled(-1) + first : Series.Pi.Scaled(-1) - first
                : left ? Series.Pi - first : first;
        }
        return RoundTranscendental(Signed(angle, y.Sign), control, ref status);
    }

    /// <summary>F2XM1. Outside -1 to 1 (where the SDM leaves the result undefined) the operand is returned, as inexact.</summary>
    public static Float80 PowerOf2Minus1(in Float80 value, uint control, ref uint status)
    {
        var a = value.Unpack();
        if (a.IsNotNumber)
        {
            return PropagateNaN(a, ref status);
        }
        if (StopsForDenormal(a.Denormal, control, ref status))
        {
            return default;
        }
        if (a.Kind == FpClass.Infinity)
        {
            return a.Sign ? Float80.One.Negated : value;
        }
        if (a.Kind == FpClass.Zero)
        {
            return value;
        }
        if (a.Exponent >= 0)
        {
            var isUnit = a.Exponent == 0 && a.Significand == 1UL << 63;
            status |= isUnit ? 0 : FpFlags.Precision;
            return isUnit && a.Sign ? new(0xBFFE, 1UL << 63) : value;
        }
        return RoundTranscendental(Series.PowerOf2Minus1(WideFloat.From(a)), control, ref status);
    }

    /// <summary>FYL2X: <c>ST1 * log2(ST0)</c>.</summary>
    /// <param name="factor">ST1.</param>
    /// <param name="value">ST0.</param>
    /// <param name="control">The control word.</param>
    /// <param name="status">The accumulator.</param>
    public static Float80 MultiplyLog2(in Float80 factor, in Float80 value, uint control, ref uint status)
    {
        var x = value.Unpack();
        var y = factor.Unpack();
        if (x.IsNotNumber || y.IsNotNumber)
        {
            return PropagateNaN(x, y, ref status);
        }
        if (x.Sign && x.Kind != FpClass.Zero)
        {
            return Invalid(ref status);
        }
        if (x.Kind == FpClass.Zero)
        {
            if (y.Kind == FpClass.Zero)
            {
                return Invalid(ref status);
            }
            if (y.Kind == FpClass.Finite)
            {
                status |= FpFlags.ZeroDivide;
            }
            return Float80.SignedInfinity(!y.Sign);
        }
        var isOne = x.Kind == FpClass.Finite && x.Exponent == 0 && x.Significand == 1UL << 63;
        if ((isOne && y.Kind == FpClass.Infinity) || (x.Kind == FpClass.Infinity && y.Kind == FpClass.Zero))
        {
            return Invalid(ref status);
        }
        if (StopsForDenormal(x.Denormal || y.Denormal, control, ref status))
        {
            return default;
        }
        var negative = x.Kind == FpClass.Finite && x.Exponent < 0;
        if (x.Kind == FpClass.Infinity || y.Kind == FpClass.Infinity)
        {
            return Float80.SignedInfinity(y.Sign ^ negative);
        }
        if (isOne || y.Kind == FpClass.Zero)
        {
            return Float80.SignedZero(y.Sign ^ negative);
        }
        if (x.Significand == 1UL << 63)
        {
            // A power of two gives an exact result, which processors nevertheless report as inexact when it is tiny.
            var product = Exact.Multiply(Unpacked.FromInteger(x.Exponent), y);
            return Round(product.Exponent < MinExponent ? new(product.Sign, product.Exponent, product.High, product.Low | 1) : product, 64, control, ref status);
        }
        return RoundTranscendental(Series.Log2(WideFloat.From(x)) * WideFloat.From(y), control, ref status);
    }

    /// <summary>FYL2XP1: <c>ST1 * log2(ST0 + 1)</c>; also outside the range of ST0 that the SDM defines, but from -1 down ST0 is returned.</summary>
    /// <param name="factor">ST1.</param>
    /// <param name="value">ST0.</param>
    /// <param name="control">The control word.</param>
    /// <param name="status">The accumulator.</param>
    public static Float80 MultiplyLog2Of1Plus(in Float80 factor, in Float80 value, uint control, ref uint status)
    {
        var x = value.Unpack();
        var y = factor.Unpack();
        if (x.IsNotNumber || y.IsNotNumber)
        {
            return PropagateNaN(x, y, ref status);
        }
        if (x.Sign && x.Kind == FpClass.Infinity)
        {
            return Invalid(ref status);
        }
        if ((x.Kind == FpClass.Zero && y.Kind == FpClass.Infinity) || (x.Kind == FpClass.Infinity && y.Kind == FpClass.Zero))
        {
            return Invalid(ref status);
        }
        if (StopsForDenormal(x.Denormal || y.Denormal, control, ref status))
        {
            return default;
        }
        if (x.Kind == FpClass.Infinity || y.Kind == FpClass.Infinity)
        {
            return Float80.SignedInfinity(x.Sign ^ y.Sign);
        }
        if (x.Kind == FpClass.Zero || y.Kind == FpClass.Zero)
        {
            return Float80.SignedZero(x.Sign ^ y.Sign);
        }
        if (x.Sign && x.Exponent >= 0)
        {
            status |= FpFlags.Precision;
            return value;
        }
        return RoundTranscendental(Series.Log2Of1Plus(WideFloat.From(x)) * WideFloat.From(y), control, ref status);
    }

    // NaNs, infinities, out of range, unmasked denormals. False: an angle to compute with.
    private static bool TrySpecialAngle(in Float80 value, uint control, ref uint status, out Unpacked a, out Float80 result)
    {
        a = value.Unpack();
        result = value;
        if (a.IsNotNumber)
        {
            result = PropagateNaN(a, ref status);
            return true;
        }
        if (a.Kind == FpClass.Infinity)
        {
            result = Invalid(ref status);
            return true;
        }
        if (a.Kind == FpClass.Finite && a.Exponent >= 63)
        {
            status |= FpFlags.C2;
            return true;
        }
        return StopsForDenormal(a.Denormal, control, ref status);
    }

    // The magnitude modulo pi/2, from -pi/4 to pi/4; exact for the 66-bit pi.
    private static WideFloat Reduce(in Unpacked a, out int quadrant)
    {
        quadrant = 0;
        if (a.Exponent < -2)
        {
            return WideFloat.From(a).Absolute;
        }
        UInt128 remainder = a.Significand;
        for (var count = a.Exponent + 2; ;)
        {
            var step = Math.Min(count, 60);
            remainder <<= step;
            var quotient = remainder / ReductionPi;
            remainder -= quotient * ReductionPi;
            quadrant = quadrant << Math.Min(step, 2) | (int)(ulong)quotient & 3;
            count -= step;
            if (count == 0)
            {
                break;
            }
        }
        var beyond = remainder << 1 > ReductionPi;
        quadrant += beyond ? 1 : 0;
        return WideFloat.From(beyond, beyond ? ReductionPi - remainder : remainder, -65);
    }

    private static WideFloat SineOf(in WideFloat reduced, int quadrant, bool sign)
    {
        var value = (quadrant & 1) == 0 ? Series.Sine(reduced) : Series.Cosine(reduced);
        return (quadrant & 2) != 0 ^ sign ? -value : value;
    }

    private static WideFloat CosineOf(in WideFloat reduced, int quadrant)
    {
        var value = (quadrant & 1) == 0 ? Series.Cosine(reduced) : Series.Sine(reduced);
        return (quadrant + 1 & 2) != 0 ? -value : value;
    }

    private static WideFloat Signed(in WideFloat magnitude, bool sign) => sign ? -magnitude : magnitude;

    private static Float80 RoundTranscendental(in WideFloat value, uint control, ref uint status) =>
        Round(value.ToInexact(), 64, control, ref status);
}
