// Intel SDM vol. 2: CVTSS2SD, CVTSD2SS, CVTSI2SD, CVTSD2SI, CVTTSD2SI and their packed forms, VCVTPH2PS, VCVTPS2PH.
namespace Vmm.Backends.Software.FloatingPoint;

internal static partial class SoftFloat<TFormat>
{
    /// <summary>CVTSS2SD, CVTSD2SS: to another of binary32 and binary64.</summary>
    public static ulong Convert<TTo>(ulong a, uint mxcsr, ref uint raised) where TTo : struct, IBinaryFormat
    {
        var x = Operand(a, mxcsr);
        if (x.Kind == FpClass.Finite)
        {
            return StopsForDenormal(x.Denormal, mxcsr, ref raised) ? 0 : SoftFloat<TTo>.Round(Exact.From(x), mxcsr, ref raised);
        }
        return ConvertSpecial<TTo>(x, ref raised);
    }

    /// <summary>VCVTPH2PS, in <c>SoftFloat&lt;Binary16&gt;</c>: exact; DAZ and DE do not apply.</summary>
    public static ulong Widen<TTo>(ulong a, ref uint raised) where TTo : struct, IBinaryFormat
    {
        var x = Unpacked.Decode<TFormat>(a);
        return x.Kind == FpClass.Finite
            ? SoftFloat<TTo>.Pack(x.Sign, x.Exponent, x.Significand)
            : ConvertSpecial<TTo>(x, ref raised);
    }

    /// <summary>VCVTPS2PH, in <c>SoftFloat&lt;Binary32&gt;</c>: FTZ does not apply.</summary>
    /// <param name="a">The operand.</param>
    /// <param name="immediate">Bits 1:0 rounding, bit 2 use MXCSR.RC instead.</param>
    /// <param name="mxcsr">MXCSR.</param>
    /// <param name="raised">The accumulator.</param>
    public static ulong Narrow<TTo>(ulong a, int immediate, uint mxcsr, ref uint raised) where TTo : struct, IBinaryFormat
    {
        var x = Operand(a, mxcsr);
        if (x.Kind != FpClass.Finite)
        {
            return ConvertSpecial<TTo>(x, ref raised);
        }
        if (StopsForDenormal(x.Denormal, mxcsr, ref raised))
        {
            return 0;
        }
        var mode = (immediate & 4) != 0 ? Mxcsr.RoundingOf(mxcsr) : (Rounding)(immediate & 3);
        return SoftFloat<TTo>.Round(Exact.From(x), mode, false, Mxcsr.MasksOf(mxcsr), ref raised, out _);
    }

    /// <summary>CVTSI2SS, CVTSI2SD, CVTDQ2PS and so on.</summary>
    public static ulong FromInteger(long value, uint mxcsr, ref uint raised) =>
        value == 0 ? 0 : Round(Exact.From(Unpacked.FromInteger(value)), mxcsr, ref raised);

    /// <summary>CVTSD2SI and CVTTSD2SI and their kin.</summary>
    /// <param name="a">The operand.</param>
    /// <param name="bits">32 or 64.</param>
    /// <param name="truncate">The CVTT forms.</param>
    /// <param name="mxcsr">MXCSR.</param>
    /// <param name="raised">The accumulator.</param>
    /// <returns>The integer; the most negative one ("integer indefinite") when invalid.</returns>
    public static long ToInteger(ulong a, int bits, bool truncate, uint mxcsr, ref uint raised)
    {
        var x = Operand(a, mxcsr);
        var limit = 1UL << (bits - 1);
        if (x.Kind == FpClass.Zero)
        {
            return 0;
        }
        if (x.Kind == FpClass.Finite)
        {
            var mode = truncate ? Rounding.Truncate : Mxcsr.RoundingOf(mxcsr);
            var magnitude = Rounder.ToInteger(x, mode, out var inexact, out _, out var tooLarge);
            if (!tooLarge && (magnitude < limit || (x.Sign && magnitude == limit)))
            {
                raised |= inexact ? FpFlags.Precision : 0;
                return x.Sign ? (long)(0 - magnitude) : (long)magnitude;
            }
        }
        raised |= FpFlags.Invalid;
        return (long)(0 - limit);
    }

    private static ulong ConvertSpecial<TTo>(in Unpacked x, ref uint raised) where TTo : struct, IBinaryFormat
    {
        raised |= x.Kind == FpClass.SignalingNaN ? FpFlags.Invalid : 0;
        return x.Kind switch
        {
            FpClass.Zero => SoftFloat<TTo>.Zero(x.Sign),
            FpClass.Infinity => SoftFloat<TTo>.Infinity(x.Sign),
            _ => x.EncodeNaN<TTo>(),
        };
    }
}
