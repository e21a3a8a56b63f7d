// The working precision of the transcendental functions: 128 bits, truncated, with an unbounded exponent.
namespace Vmm.Backends.Software.FloatingPoint;

/// <summary>
/// A number of 128 significant bits: <c>Significand * 2^(Exponent - 127)</c>, bit 127 set unless zero. Results are truncated,
/// so each operation errs by at most two units in the last place.
/// </summary>
internal readonly struct WideFloat(bool sign, int exponent, UInt128 significand)
{
    /// <summary>True when negative.</summary>
    public readonly bool Sign = sign;

    /// <summary>Exponent of the leading bit.</summary>
    public readonly int Exponent = exponent;

    /// <summary>Normalised significand; 0 for zero.</summary>
    public readonly UInt128 Significand = significand;

    /// <summary>One.</summary>
    public static WideFloat One => new(false, 0, UInt128.One << 127);

    /// <summary>Whether it is zero.</summary>
    public bool IsZero => Significand == 0;

    /// <summary>The magnitude.</summary>
    public WideFloat Absolute => new(false, Exponent, Significand);

    /// <summary>An operand that is finite or zero.</summary>
    public static WideFloat From(in Unpacked a) => new(a.Sign, a.Exponent, a.Kind == FpClass.Zero ? 0 : (UInt128)a.Significand << 64);

    /// <summary>An integer times a power of two.</summary>
    public static WideFloat From(bool sign, UInt128 value, int exponent = 0)
    {
        if (value == 0)
        {
            return default;
        }
        var shift = (int)UInt128.LeadingZeroCount(value);
        return new(sign, exponent + 127 - shift, value << shift);
    }

    /// <summary>An integer.</summary>
    public static WideFloat From(int value) => From(value < 0, (uint)Math.Abs(value));

    /// <summary>The number times a power of two.</summary>
    public WideFloat Scaled(int power) => new(Sign, Exponent + power, Significand);

    /// <summary>The value for rounding; never exact.</summary>
    public Exact ToInexact() => new(Sign, Exponent, (ulong)(Significand >> 64), (ulong)Significand | 1);

    /// <summary>Which magnitude is larger: negative, zero or positive.</summary>
    public int CompareMagnitude(in WideFloat other) => IsZero || other.IsZero ? Significand.CompareTo(other.Significand)
        : Exponent != other.Exponent ? Exponent.CompareTo(other.Exponent) : Significand.CompareTo(other.Significand);

    public static WideFloat operator -(in WideFloat a) => new(!a.Sign, a.Exponent, a.Significand);

    public static WideFloat operator -(in WideFloat a, in WideFloat b) => a + -b;

    public static WideFloat operator +(in WideFloat a, in WideFloat b)
    {
        if (a.IsZero || b.IsZero)
        {
            return a.IsZero ? b : a;
        }
        var (large, small) = a.CompareMagnitude(b) >= 0 ? (a, b) : (b, a);
        var distance = large.Exponent - small.Exponent;
        var aligned = distance > 127 ? UInt128.Zero : small.Significand >> distance;
        if (large.Sign != small.Sign)
        {
            return From(large.Sign, large.Significand - aligned, large.Exponent - 127);
        }
        var sum = large.Significand + aligned;
        return sum < aligned
            ? new(large.Sign, large.Exponent + 1, sum >> 1 | UInt128.One << 127)
            : new(large.Sign, large.Exponent, sum);
    }

    public static WideFloat operator *(in WideFloat a, in WideFloat b)
    {
        if (a.IsZero || b.IsZero)
        {
            return default;
        }
        var (aHigh, aLow) = ((ulong)(a.Significand >> 64), (ulong)a.Significand);
        var (bHigh, bLow) = ((ulong)(b.Significand >> 64), (ulong)b.Significand);
        var middle = (UInt128)aHigh * bLow;
        var other = (UInt128)aLow * bHigh;
        var carries = (UInt128)(ulong)middle + (ulong)other + Math.BigMul(aLow, bLow, out _);
        var product = (UInt128)aHigh * bHigh + (middle >> 64) + (other >> 64) + (carries >> 64);
        return product >> 127 != 0
            ? new(a.Sign ^ b.Sign, a.Exponent + b.Exponent + 1, product)
            : new(a.Sign ^ b.Sign, a.Exponent + b.Exponent, product << 1 | (ulong)carries >> 63);
    }

    /// <summary>The quotient; the divisor is not zero.</summary>
    public static WideFloat operator /(in WideFloat a, in WideFloat b)
    {
        if (a.IsZero)
        {
            return default;
        }
        var exponent = a.Exponent - b.Exponent;
        var remainder = a.Significand;
        if (remainder < b.Significand)
        {
            exponent--;
        }
        else
        {
            remainder -= b.Significand;
        }
        // Long division, a bit at a time; the first quotient bit is one by the choice of the exponent.
        var quotient = a.Significand < b.Significand ? UInt128.Zero : UInt128.One;
        for (var bits = a.Significand < b.Significand ? 128 : 127; bits > 0; bits--)
        {
            var carry = remainder >> 127 != 0;
            remainder <<= 1;
            quotient <<= 1;
            if (carry || remainder >= b.Significand)
            {
                remainder -= b.Significand;
                quotient |= UInt128.One;
            }
        }
        return new(a.Sign ^ b.Sign, exponent, quotient);
    }
}
