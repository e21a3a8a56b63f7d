// Intel SDM vol. 1, 4.2.2 and 8.2 (double extended-precision format).
namespace Vmm.Backends.Software.FloatingPoint;

/// <summary>
/// An x87 register's contents: 64 bits of significand with the integer bit explicit, and 15 bits of biased exponent under the
/// sign. Every bit pattern is kept as it is.
/// </summary>
internal readonly struct Float80(ushort signExponent, ulong significand) : IEquatable<Float80>
{
    /// <summary>The exponent bias and the largest exponent.</summary>
    public const int Bias = 16383;

    /// <summary>The biased exponent of infinities and NaNs.</summary>
    public const int MaxBiased = 0x7FFF;

    /// <summary>The integer bit.</summary>
    public const ulong IntegerBit = 1UL << 63;

    /// <summary>Bits 63:0.</summary>
    public readonly ulong Significand = significand;

    /// <summary>Bits 79:64.</summary>
    public readonly ushort SignExponent = signExponent;

    /// <summary>Plus zero.</summary>
    public static Float80 Zero => default;

    /// <summary>One.</summary>
    public static Float80 One => new(0x3FFF, IntegerBit);

    /// <summary>Plus infinity.</summary>
    public static Float80 Infinity => new(0x7FFF, IntegerBit);

    /// <summary>The default NaN ("real indefinite").</summary>
    public static Float80 Indefinite => new(0xFFFF, IntegerBit | Unpacked.QuietBit);

    /// <summary>True when the sign bit is set.</summary>
    public bool Sign => (SignExponent & 0x8000) != 0;

    /// <summary>The exponent field.</summary>
    public int BiasedExponent => SignExponent & MaxBiased;

    /// <summary>FABS.</summary>
    public Float80 Absolute => new((ushort)(SignExponent & 0x7FFF), Significand);

    /// <summary>FCHS.</summary>
    public Float80 Negated => new((ushort)(SignExponent ^ 0x8000), Significand);

    /// <summary>A signed zero.</summary>
    public static Float80 SignedZero(bool sign) => new(sign ? (ushort)0x8000 : (ushort)0, 0);

    /// <summary>A signed infinity.</summary>
    public static Float80 SignedInfinity(bool sign) => new(sign ? (ushort)0xFFFF : (ushort)0x7FFF, IntegerBit);

    /// <summary>FILD: exact for every integer.</summary>
    public static Float80 FromInteger(long value)
    {
        if (value == 0)
        {
            return default;
        }
        var a = Unpacked.FromInteger(value);
        return new((ushort)((a.Sign ? 0x8000 : 0) | (a.Exponent + Bias)), a.Significand);
    }

    /// <summary>The operand of an operation.</summary>
    public Unpacked Unpack()
    {
        var biased = BiasedExponent;
        if (biased == 0)
        {
            if (Significand == 0)
            {
                return new(FpClass.Zero, Sign, 0, 0);
            }
            var shift = (int)ulong.LeadingZeroCount(Significand);
            return new(FpClass.Finite, Sign, 1 - Bias - shift, Significand << shift, true);
        }
        if ((Significand & IntegerBit) == 0)
        {
            return new(FpClass.Unsupported, Sign, 0, Significand);
        }
        if (biased != MaxBiased)
        {
            return new(FpClass.Finite, Sign, biased - Bias, Significand);
        }
        var kind = Significand == IntegerBit ? FpClass.Infinity
            : (Significand & Unpacked.QuietBit) != 0 ? FpClass.QuietNaN : FpClass.SignalingNaN;
        return new(kind, Sign, 0, Significand);
    }

    /// <summary>FXAM's condition codes C3, C2, C0 and C1 for a register that is not empty.</summary>
    public uint Examine()
    {
        var a = Unpack();
        var codes = a.Kind switch
        {
            FpClass.Unsupported => 0u,
            FpClass.QuietNaN or FpClass.SignalingNaN => FpFlags.C0,
            FpClass.Infinity => FpFlags.C2 | FpFlags.C0,
            FpClass.Zero => FpFlags.C3,
            _ => a.Denormal ? FpFlags.C3 | FpFlags.C2 : FpFlags.C2,
        };
        return codes | (Sign ? FpFlags.C1 : 0);
    }

    /// <inheritdoc/>
    public bool Equals(Float80 other) => Significand == other.Significand && SignExponent == other.SignExponent;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is Float80 other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Significand, SignExponent);

    /// <summary>The bits, as in <c>3FFF:8000000000000000</c>.</summary>
    public override string ToString() => $"{SignExponent:X4}:{Significand:X16}";
}
