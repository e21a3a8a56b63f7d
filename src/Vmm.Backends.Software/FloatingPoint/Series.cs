// Power series with argument reduction; errors are below 2^-110 relative.
using System.Collections.Immutable;

namespace Vmm.Backends.Software.FloatingPoint;

/// <summary>The elementary functions on <see cref="WideFloat"/>, for arguments already reduced.</summary>
internal static class Series
{
    private const int ArcTangentSteps = 16;
    private const int TinyExponent = -62;

    private static readonly ImmutableArray<WideFloat> s_reciprocals = [.. Enumerable.Range(0, 64).Select(n => n == 0 ? default : WideFloat.One / WideFloat.From(n))];

    // atan(k / 16), each from the one before: atan a - atan b = atan((a - b) / (1 + ab)).
    private static readonly ImmutableArray<WideFloat> s_arcTangents = MakeArcTangents();

    /// <summary>Pi, to 128 bits.</summary>
    public static WideFloat Pi => new(false, 1, new(0xC90FDAA22168C234, 0xC4C6628B80DC1CD1));

    /// <summary>The natural logarithm of two.</summary>
    private static WideFloat LnOf2 => new(false, -1, new(0xB17217F7D1CF79AB, 0xC9E3B39803F2F6AF));

    /// <summary>The binary logarithm of e.</summary>
    private static WideFloat Log2OfE => new(false, 0, new(0xB8AA3B295C17F0BB, 0xBE87FED0691D3E88));

    /// <summary>The sine of at most pi/4.</summary>
    public static WideFloat Sine(in WideFloat x)
    {
        if (x.Exponent < TinyExponent)
        {
            return JustBelow(x);
        }
        var square = x * x;
        var sum = WideFloat.One;
        for (var n = 30; n >= 2; n -= 2)
        {
            sum = WideFloat.One - square * s_reciprocals[n] * s_reciprocals[n + 1] * sum;
        }
        return x * sum;
    }

    /// <summary>The cosine of at most pi/4.</summary>
    public static WideFloat Cosine(in WideFloat x)
    {
        var square = x * x;
        var sum = WideFloat.One;
        for (var n = 31; n >= 1; n -= 2)
        {
            sum = WideFloat.One - square * s_reciprocals[n] * s_reciprocals[n + 1] * sum;
        }
        return sum;
    }

    /// <summary><c>2^x - 1</c> for x from -1 to 1.</summary>
    public static WideFloat PowerOf2Minus1(in WideFloat x)
    {
        var y = x * LnOf2;
        var sum = WideFloat.One;
        for (var n = 36; n >= 2; n--)
        {
            sum = WideFloat.One + y * s_reciprocals[n] * sum;
        }
        return y * sum;
    }

    /// <summary>The binary logarithm of a positive number.</summary>
    public static WideFloat Log2(in WideFloat x)
    {
        // The square root of two, so that the reduced number is nearest to one.
        var above = x.Significand > new UInt128(0xB504F333F9DE6484, 0);
        var reduced = new WideFloat(false, above ? -1 : 0, x.Significand);
        var exponent = x.Exponent + (above ? 1 : 0);
        var fraction = Log2Near1(reduced - WideFloat.One, reduced + WideFloat.One);
        return exponent == 0 ? fraction : WideFloat.From(exponent) + fraction;
    }

    /// <summary>The binary logarithm of <c>1 + x</c>, for x above -1.</summary>
    public static WideFloat Log2Of1Plus(in WideFloat x)
    {
        var small = x.IsZero || x.Exponent < -2;
        return small ? Log2Near1(x, WideFloat.One + WideFloat.One + x) : Log2(WideFloat.One + x);
    }

    /// <summary>The arc tangent of 0 to 1.</summary>
    public static WideFloat ArcTangent(in WideFloat x)
    {
        if (x.Exponent < TinyExponent)
        {
            return JustBelow(x);
        }
        if (x.IsZero || x.Exponent < -5)
        {
            return ArcTangentSmall(x);
        }
        // The nearest k/16.
        var sixteenths = (int)(x.Significand >> (127 - 5 - x.Exponent)) + 1 >> 1;
        var center = WideFloat.From(false, (uint)sixteenths, -4);
        return s_arcTangents[sixteenths] + ArcTangentSmall((x - center) / (WideFloat.One + x * center));
    }

    // Of tiny arguments only the direction of the error can be seen, when rounding.
    private static WideFloat JustBelow(in WideFloat x) => x.IsZero ? x : x - x.Scaled(-126);

    // log2(a/b + ...): log((1+s)/(1-s)) = 2 atanh(s), with s = difference / sum.
    private static WideFloat Log2Near1(in WideFloat difference, in WideFloat sum)
    {
        var s = difference / sum;
        var square = s * s;
        var series = s_reciprocals[59];
        for (var n = 57; n >= 1; n -= 2)
        {
            series = s_reciprocals[n] + square * series;
        }
        return (s * series * Log2OfE).Scaled(1);
    }

    private static WideFloat ArcTangentSmall(in WideFloat x)
    {
        var square = x * x;
        var series = s_reciprocals[25];
        for (var n = 23; n >= 1; n -= 2)
        {
            series = s_reciprocals[n] - square * series;
        }
        return x * series;
    }

    private static ImmutableArray<WideFloat> MakeArcTangents()
    {
        var values = new WideFloat[ArcTangentSteps + 1];
        for (var k = 1; k <= ArcTangentSteps; k++)
        {
            // The step is at most 1/16, twice what ArcTangentSmall is made for, so it is taken in two halves.
            var (low, high) = (WideFloat.From(false, (uint)(2 * k - 2), -5), WideFloat.From(false, (uint)(2 * k), -5));
            var middle = WideFloat.From(false, (uint)(2 * k - 1), -5);
            values[k] = values[k - 1]
                + ArcTangentSmall((middle - low) / (WideFloat.One + middle * low))
                + ArcTangentSmall((high - middle) / (WideFloat.One + high * middle));
        }
        return [.. values];
    }
}
