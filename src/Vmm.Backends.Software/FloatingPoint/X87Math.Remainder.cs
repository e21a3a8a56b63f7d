// Intel SDM vol. 2: FPREM, FPREM1, FSCALE, FXTRACT.
namespace Vmm.Backends.Software.FloatingPoint;

internal static partial class X87Math
{
    /// <summary>
    /// FPREM (truncating quotient) and FPREM1 (nearest quotient, IEEE remainder) of ST0 by ST1. C2 is set while the reduction
    /// is not complete; else C0, C3, C1 are bits 2, 1, 0 of the quotient.
    /// </summary>
    public static Float80 Remainder(in Float80 value, in Float80 modulus, bool nearest, uint control, ref uint status)
    {
        var a = value.Unpack();
        var b = modulus.Unpack();
        if (a.IsNotNumber || b.IsNotNumber)
        {
            return PropagateNaN(a, b, ref status);
        }
        if (a.Kind == FpClass.Infinity || b.Kind == FpClass.Zero)
        {
            return Invalid(ref status);
        }
        if (StopsForDenormal(a.Denormal || b.Denormal, control, ref status))
        {
            return default;
        }
        if (a.Kind == FpClass.Zero)
        {
            return value;
        }
        if (b.Kind == FpClass.Infinity)
        {
            return Round(Exact.From(a), 64, control, ref status); // a denormal meets the underflow rules
        }
        var difference = a.Exponent - b.Exponent;
        if (difference < -1)
        {
            return Round(Exact.From(a), 64, control, ref status);
        }
        if (difference >= 64)
        {
            // An implementation-dependent number of bits between 32 and 63 goes in one step.
            var step = (difference & 31) + 32;
            var partial = Reduce(a.Significand, b.Significand, step, out _);
            status |= FpFlags.C2;
            return Pack(a.Sign, a.Exponent - step, partial, control, ref status);
        }
        ulong remainder, quotient;
        var exponent = b.Exponent;
        var sign = a.Sign;
        if (difference < 0)
        {
            // a < b, but FPREM1 may still round the quotient to one; align to a's exponent, one below b's.
            remainder = a.Significand;
            quotient = 0;
            exponent = a.Exponent;
            if (nearest && a.Significand > b.Significand)
            {
                // |a| > |b|/2: the remainder is |b| - |a| with the other sign, in units of a's last place.
                var rest = ((UInt128)b.Significand << 1) - a.Significand;
                quotient = 1;
                return Finish(!sign, exponent, rest, quotient, control, ref status);
            }
            return Finish(sign, exponent, remainder, quotient, control, ref status);
        }
        remainder = Reduce(a.Significand, b.Significand, difference, out quotient);
        if (nearest)
        {
            var rest = b.Significand - remainder;
            if (remainder > rest || (remainder == rest && (quotient & 1) != 0))
            {
                remainder = rest;
                quotient++;
                sign = !sign;
            }
        }
        if (remainder == 0)
        {
            status |= QuotientCodes(quotient);
            return Float80.SignedZero(a.Sign);
        }
        return Finish(sign, exponent, remainder, quotient, control, ref status);
    }

    /// <summary>FSCALE: ST0 times two to the power of ST1 rounded towards zero.</summary>
    public static Float80 Scale(in Float80 value, in Float80 scale, uint control, ref uint status)
    {
        var a = value.Unpack();
        var b = scale.Unpack();
        if (a.IsNotNumber || b.IsNotNumber)
        {
            return PropagateNaN(a, b, ref status);
        }
        if (b.Kind == FpClass.Infinity && (b.Sign ? a.Kind == FpClass.Infinity : a.Kind == FpClass.Zero))
        {
            return Invalid(ref status);
        }
        if (StopsForDenormal(a.Denormal || b.Denormal, control, ref status))
        {
            return default;
        }
        if (b.Kind == FpClass.Infinity)
        {
            return b.Sign ? Float80.SignedZero(a.Sign) : Float80.SignedInfinity(a.Sign);
        }
        if (a.Kind != FpClass.Finite)
        {
            return value;
        }
        var power = 0;
        if (b.Kind == FpClass.Finite && b.Exponent >= 0)
        {
            power = b.Exponent > 16 ? 1 << 17 : (int)(b.Significand >> (63 - b.Exponent));
            power = b.Sign ? -power : power;
        }
        return Round(new(a.Sign, a.Exponent + power, a.Significand, 0), 64, control, ref status);
    }

    /// <summary>FXTRACT: the exponent (for ST0, later ST1) and the significand (pushed).</summary>
    public static (Float80 Exponent, Float80 Significand) Extract(in Float80 value, uint control, ref uint status)
    {
        var a = value.Unpack();
        if (a.IsNotNumber)
        {
            var nan = PropagateNaN(a, ref status);
            return (nan, nan);
        }
        switch (a.Kind)
        {
            case FpClass.Infinity:
                return (Float80.Infinity, value);
            case FpClass.Zero:
                status |= FpFlags.ZeroDivide;
                return (Float80.SignedInfinity(true), value);
        }
        return StopsForDenormal(a.Denormal, control, ref status) ? default
            : (Float80.FromInteger(a.Exponent), Pack(a.Sign, 0, a.Significand));
    }

    // The remainder of (a * 2^count) / b, where both significands are normalised; the quotient modulo 2^64.
    private static ulong Reduce(ulong a, ulong b, int count, out ulong quotient)
    {
        quotient = a >= b ? 1UL : 0;
        var remainder = a >= b ? a - b : a;
        while (count > 0)
        {
            var step = Math.Min(count, 32);
            var wide = (UInt128)remainder << step;
            var part = wide / b;
            remainder = (ulong)(wide - part * b);
            quotient = quotient << step | (ulong)part;
            count -= step;
        }
        return remainder;
    }

    private static Float80 Finish(bool sign, int exponent, UInt128 remainder, ulong quotient, uint control, ref uint status)
    {
        status |= QuotientCodes(quotient);
        return Round(Exact.Normalize(sign, exponent + 64, remainder), 64, control, ref status);
    }

    private static Float80 Pack(bool sign, int exponent, ulong partial, uint control, ref uint status) => partial == 0
        ? Float80.SignedZero(sign)
        : Round(Exact.Normalize(sign, exponent + 64, partial), 64, control, ref status);

    private static uint QuotientCodes(ulong quotient) =>
        ((quotient & 1) != 0 ? FpFlags.C1 : 0) | ((quotient & 2) != 0 ? FpFlags.C3 : 0) | ((quotient & 4) != 0 ? FpFlags.C0 : 0);
}
