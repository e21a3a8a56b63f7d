using Vmm.Backends.Software.FloatingPoint;
using Xunit;
using static Vmm.Backends.Software.Tests.FloatingPoint.HostOracle;

namespace Vmm.Backends.Software.Tests.FloatingPoint;

/// <summary>The transcendental instructions against the host CPU: within one unit in the last place, flags but PE and UE equal.</summary>
public sealed class X87TranscendentalTests
{
    private const int Count = 20_000;
    private const uint Compared = FpFlags.Invalid | FpFlags.Denormal | FpFlags.ZeroDivide | FpFlags.Overflow;

    [Fact]
    public void PowerOf2Minus1_HostCpu_Agrees() => Check(24, true, (vectors, i) => (i % 4 == 0 ? vectors.NextFloat80() : Near(vectors, -66, 0), default), (a, _) =>
    {
        var status = 0u;
        var result = X87Math.PowerOf2Minus1(a, 0x37F, ref status);
        return (result, result, status);
    });

    [Fact]
    public void MultiplyLog2_HostCpu_Agrees() => Check(25, true, (vectors, i) => (
        i % 4 == 0 ? vectors.NextFloat80() : i % 4 == 1 ? new(0x3FFE, 0xFFFF_FFFF_FFFF_FFFF - (vectors.Next64() >> vectors.Next64().GetHashCode() % 64))
        : i % 4 == 2 ? new(0x3FFF, 1UL << 63 | vectors.Next64() >> (int)vectors.NextBits(6)) : Near(vectors, -50, 50).Absolute, vectors.NextFloat80()), (a, b) =>
    {
        var status = 0u;
        var result = X87Math.MultiplyLog2(b, a, 0x37F, ref status);
        return (result, result, status);
    });

    [Fact]
    public void MultiplyLog2Of1Plus_HostCpu_Agrees() => Check(26, true, (vectors, i) => (Near(vectors, -70, -2), vectors.NextFloat80()), (a, b) =>
    {
        var status = 0u;
        var result = X87Math.MultiplyLog2Of1Plus(b, a, 0x37F, ref status);
        return (result, result, status);
    });

    [Fact]
    public void Sine_HostCpu_Agrees() => Check(27, true, Angle, (a, _) =>
    {
        var status = 0u;
        var result = X87Math.Sine(a, 0x37F, ref status);
        return (result, result, status);
    });

    [Fact]
    public void Cosine_HostCpu_Agrees() => Check(28, true, Angle, (a, _) =>
    {
        var status = 0u;
        var result = X87Math.Cosine(a, 0x37F, ref status);
        return (result, result, status);
    });

    [Fact]
    public void SineAndCosine_HostCpu_Agrees() => Check(29, false, Angle, (a, b) =>
    {
        var status = 0u;
        var (sine, cosine) = X87Math.SineAndCosine(a, 0x37F, ref status);
        return (status & FpFlags.C2) != 0 ? (a, b, status) : (cosine, sine, status);
    });

    [Fact]
    public void Tangent_HostCpu_Agrees() => Check(30, false, Angle, (a, b) =>
    {
        var status = 0u;
        var tangent = X87Math.Tangent(a, 0x37F, ref status);
        return (status & FpFlags.C2) != 0 ? (a, b, status) : (tangent.Unpack().IsNaN ? tangent : Float80.One, tangent, status);
    });

    [Fact]
    public void ArcTangent_HostCpu_Agrees() => Check(31, true, (vectors, i) => i % 3 == 0 ? (vectors.NextFloat80(), vectors.NextFloat80()) : (Near(vectors, -20, 20), Near(vectors, -20, 20)), (a, b) =>
    {
        var status = 0u;
        var result = X87Math.ArcTangent(b, a, 0x37F, ref status);
        return (result, result, status);
    });

    private static Float80 Near(FloatVectors vectors, int from, int to) =>
        new((ushort)(0x3FFF + from + (int)(vectors.NextBits(20) % (to - from)) | (int)vectors.NextBits(1) << 15), 1UL << 63 | vectors.Pattern());

    private static (Float80, Float80) Angle(FloatVectors vectors, int i)
    {
        if (i % 4 == 0)
        {
            return (vectors.NextFloat80(), vectors.NextFloat80());
        }
        if (i % 4 == 1)
        {
            // Next to multiples of pi/2, where the length of the built-in pi shows.
            var status = 0u;
            var multiple = X87Math.Multiply(
                Float80.FromInteger(vectors.NextBits((int)vectors.NextBits(4) + 1)).Unpack(), new Float80(0x3FFF, 0xC90FDAA22168C235).Unpack(), 0x37F, ref status);
            return (new(multiple.SignExponent, multiple.Significand ^ vectors.NextBits(2)), default);
        }
        return (Near(vectors, -40, i % 4 == 2 ? 3 : 63), default);
    }

    private static void Check(int operation, bool single, Func<FloatVectors, int, (Float80, Float80)> operands, Func<Float80, Float80, (Float80, Float80, uint)> compute)
    {
        using var oracle = StartOrSkip();
        var vectors = new FloatVectors(operation);
        var requests = new Request[Count];
        for (var i = 0; i < Count; i++)
        {
            var (a, b) = operands(vectors, i);
            requests[i] = new() { A = a.Significand, AHigh = a.SignExponent, B = b.Significand, BHigh = b.SignExponent, Control = 0x37F };
        }
        var answers = oracle.Ask(operation, requests);
        var differences = new Differences("operation " + operation);
        for (var i = 0; i < Count; i++)
        {
            var a = new Float80((ushort)requests[i].AHigh, requests[i].A);
            var b = new Float80((ushort)requests[i].BHigh, requests[i].B);
            if (operation == 24 && a.BiasedExponent is >= 0x3FFF and < 0x7FFF && !(a.BiasedExponent == 0x3FFF && a.Significand == 1UL << 63))
            {
                continue; // undefined
            }
            var (first, second, status) = compute(a, b);
            var (hostFirst, hostSecond) = (new Float80((ushort)answers[i].FirstHigh, answers[i].First), new Float80((ushort)answers[i].SecondHigh, answers[i].Second));
            var mask = Compared | (operation is >= 27 and <= 30 ? FpFlags.C2 : 0);
            var ok = IsClose(first, hostFirst) && (single || IsClose(second, hostSecond)) && (status & mask) == (answers[i].Flags & mask);
            differences.Check(ok, () => $"{a} {b}: got {first} {second} {status:X}, host {hostFirst} {hostSecond} {answers[i].Flags & 0x477F:X}");
        }
        differences.Assert();
    }

    private static bool IsClose(Float80 a, Float80 b)
    {
        if (a.Sign != b.Sign || a.BiasedExponent == Float80.MaxBiased)
        {
            return a.Equals(b);
        }
        var distance = Linear(a) - Linear(b);
        return distance >= -1 && distance <= 1;
    }

    // Consecutive numbers are consecutive integers.
    private static Int128 Linear(Float80 a) => ((Int128)Math.Max(a.BiasedExponent, 1) << 63) + (Int128)(a.Significand & long.MaxValue)
        - (a.BiasedExponent == 0 && (a.Significand >> 63) == 0 ? (Int128)1 << 63 : 0);
}
