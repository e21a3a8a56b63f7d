// IEEE 754-2019 section 3: a datum of any binary format, taken apart.
using System.Runtime.CompilerServices;

namespace Vmm.Backends.Software.FloatingPoint;

/// <summary>
/// An operand in a form common to all formats. A finite value is <c>Significand * 2^(Exponent - 63)</c> with bit 63 set; a
/// NaN has its payload left-aligned as in the extended format (bit 63 set, bit 62 the quiet bit).
/// </summary>
internal readonly struct Unpacked(FpClass kind, bool sign, int exponent, ulong significand, bool denormal = false)
{
    /// <summary>Bit 62 of a NaN's significand.</summary>
    public const ulong QuietBit = 1UL << 62;

    /// <summary>What it is.</summary>
    public readonly FpClass Kind = kind;

    /// <summary>True when negative.</summary>
    public readonly bool Sign = sign;

    /// <summary>True when the encoding was a denormal (or pseudo-denormal), which raises DE.</summary>
    public readonly bool Denormal = denormal;

    /// <summary>Unbiased exponent of a finite value.</summary>
    public readonly int Exponent = exponent;

    /// <summary>Normalised significand, or the NaN payload.</summary>
    public readonly ulong Significand = significand;

    /// <summary>Quiet or signaling.</summary>
    public bool IsNaN => Kind is FpClass.QuietNaN or FpClass.SignalingNaN;

    /// <summary>Any operand that makes the ordinary path impossible: NaN or unsupported.</summary>
    public bool IsNotNumber => Kind >= FpClass.QuietNaN;

    /// <summary>The same with the other sign.</summary>
    public Unpacked Negated => new(Kind, !Sign, Exponent, Significand, Denormal);

    /// <summary>The value of a non-negative integer with a sign.</summary>
    public static Unpacked FromMagnitude(bool sign, ulong magnitude)
    {
        if (magnitude == 0)
        {
            return new(FpClass.Zero, false, 0, 0);
        }
        var shift = (int)ulong.LeadingZeroCount(magnitude);
        return new(FpClass.Finite, sign, 63 - shift, magnitude << shift);
    }

    /// <summary>The value of a signed integer.</summary>
    public static Unpacked FromInteger(long value) => FromMagnitude(value < 0, value < 0 ? 0UL - (ulong)value : (ulong)value);

    /// <summary>Takes apart an encoding of one of the interchange formats.</summary>
    /// <param name="bits">The encoding in the low bits.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Unpacked Decode<TFormat>(ulong bits) where TFormat : struct, IBinaryFormat
    {
        var fraction = bits & TFormat.FractionMask;
        var biased = (int)(bits >> TFormat.FractionBits) & TFormat.MaxBiased;
        var sign = (bits & TFormat.SignMask) != 0;
        if (biased != 0 && biased != TFormat.MaxBiased)
        {
            return new(FpClass.Finite, sign, biased - TFormat.Bias, 1UL << 63 | fraction << (63 - TFormat.FractionBits));
        }
        if (biased == 0)
        {
            if (fraction == 0)
            {
                return new(FpClass.Zero, sign, 0, 0);
            }
            var shift = (int)ulong.LeadingZeroCount(fraction);
            return new(FpClass.Finite, sign, 63 - shift - TFormat.FractionBits + 1 - TFormat.Bias, fraction << shift, true);
        }
        var payload = 1UL << 63 | fraction << (63 - TFormat.FractionBits);
        var kind = fraction == 0 ? FpClass.Infinity : (payload & QuietBit) != 0 ? FpClass.QuietNaN : FpClass.SignalingNaN;
        return new(kind, sign, 0, payload);
    }

    /// <summary>Encodes a NaN of this payload, quieted, in a format; low payload bits that do not fit are lost.</summary>
    public ulong EncodeNaN<TFormat>() where TFormat : struct, IBinaryFormat =>
        (Sign ? TFormat.SignMask : 0) | TFormat.InfinityBits
        | ((Significand | QuietBit) >> (63 - TFormat.FractionBits) & TFormat.FractionMask);
}
