using System.Runtime.Intrinsics;
using Vmm.Backends.Software.FloatingPoint;
using Xunit;

namespace Vmm.Backends.Software.Tests.FloatingPoint;

/// <summary>Whenever the fast path takes an operation, it must be what the exact arithmetic gives, without a flag but PE.</summary>
public sealed class SseFastTests
{
    private const int Count = 20_000;
    private const uint Eligible = Mxcsr.PowerOn | FpFlags.Precision;

    [Fact]
    public void Scalar_Double_IsTakenOnlyWhenExactArithmeticAgrees()
    {
        var vectors = new FloatVectors(1);
        var taken = 0;
        for (var i = 0; i < Count * 5; i++)
        {
            ulong a = vectors.Next<Binary64>(), b = vectors.Next<Binary64>(), c = vectors.Next<Binary64>();
            var (x, y, z) = (BitConverter.UInt64BitsToDouble(a), BitConverter.UInt64BitsToDouble(b), BitConverter.UInt64BitsToDouble(c));
            var raised = 0u;
            double result;
            var ok = (i % 6) switch
            {
                0 => SseFast.TryAdd(x, y, out result),
                1 => SseFast.TrySubtract(x, y, out result),
                2 => SseFast.TryMultiply(x, y, out result),
                3 => SseFast.TryDivide(x, y, out result),
                4 => SseFast.TrySquareRoot(x, out result),
                _ => SseFast.TryMultiplyAdd(x, y, z, out result),
            };
            if (ok)
            {
                taken++;
                Assert.Equal(Soft<Binary64>(i % 6, a, b, c, ref raised), BitConverter.DoubleToUInt64Bits(result));
                Assert.Equal(0u, raised & ~FpFlags.Precision);
            }
        }
        Assert.True(taken > Count, "The fast path is hardly ever taken.");
    }

    [Fact]
    public void Scalar_Single_IsTakenOnlyWhenExactArithmeticAgrees()
    {
        var vectors = new FloatVectors(2);
        var taken = 0;
        for (var i = 0; i < Count * 5; i++)
        {
            ulong a = vectors.Next<Binary32>(), b = vectors.Next<Binary32>(), c = vectors.Next<Binary32>();
            var (x, y, z) = (BitConverter.UInt32BitsToSingle((uint)a), BitConverter.UInt32BitsToSingle((uint)b), BitConverter.UInt32BitsToSingle((uint)c));
            var raised = 0u;
            float result;
            var ok = (i % 6) switch
            {
                0 => SseFast.TryAdd(x, y, out result),
                1 => SseFast.TrySubtract(x, y, out result),
                2 => SseFast.TryMultiply(x, y, out result),
                3 => SseFast.TryDivide(x, y, out result),
                4 => SseFast.TrySquareRoot(x, out result),
                _ => SseFast.TryMultiplyAdd(x, y, z, out result),
            };
            if (ok)
            {
                taken++;
                Assert.Equal(Soft<Binary32>(i % 6, a, b, c, ref raised), BitConverter.SingleToUInt32Bits(result));
                Assert.Equal(0u, raised & ~FpFlags.Precision);
            }
        }
        Assert.True(taken > Count, "The fast path is hardly ever taken.");
    }

    [Fact]
    public void Vector_AllWidths_AreTakenOnlyWhenEveryLaneAgrees()
    {
        var vectors = new FloatVectors(3);
        var taken = 0;
        Span<double> a = stackalloc double[4], b = stackalloc double[4], c = stackalloc double[4];
        for (var i = 0; i < Count * 5; i++)
        {
            var single = vectors.OneIn(2);
            for (var k = 0; k < 4; k++)
            {
                // Mostly ordinary lanes, or all four would hardly ever be.
                a[k] = Lane(vectors, single);
                b[k] = Lane(vectors, single);
                c[k] = Lane(vectors, single);
            }
            taken += single
                ? CheckVector<float>(i % 6, Vector256.Create(a).AsSingle(), Vector256.Create(b).AsSingle(), Vector256.Create(c).AsSingle())
                : CheckVector(i % 6, Vector256.Create(a), Vector256.Create(b), Vector256.Create(c));
        }
        Assert.True(taken > Count / 2, "The fast path is hardly ever taken.");
    }

    [Theory]
    [InlineData(Eligible, true)]
    [InlineData(Eligible | FpFlags.Overflow, true)]
    [InlineData(Mxcsr.PowerOn, false)]
    [InlineData(Eligible | Mxcsr.DenormalsAreZeros, false)]
    [InlineData(Eligible | Mxcsr.FlushToZero, false)]
    [InlineData(Eligible | 0x2000, false)]
    [InlineData(Eligible & ~0x1000u, false)]
    public void IsEligible_ControlBits_Decide(uint mxcsr, bool expected) => Assert.Equal(expected, SseFast.IsEligible(mxcsr));

    private static double Lane(FloatVectors vectors, bool single)
    {
        if (vectors.OneIn(40))
        {
            return BitConverter.UInt64BitsToDouble(vectors.Next<Binary64>());
        }
        return single
            ? BitConverter.UInt64BitsToDouble((ulong)OrdinarySingle(vectors) << 32 | OrdinarySingle(vectors))
            : BitConverter.UInt64BitsToDouble(vectors.OneIn(9) ? 0 : 0x3F00_0000_0000_0000 + (vectors.Pattern() & 0x801F_FFFF_FFFF_FFFF));
    }

    private static uint OrdinarySingle(FloatVectors vectors) => vectors.OneIn(9) ? 0 : 0x3E00_0000 + ((uint)vectors.Pattern() & 0x80FF_FFFF);

    private static int CheckVector<T>(int operation, Vector256<T> a, Vector256<T> b, Vector256<T> c) where T : unmanaged
    {
        var taken = 0;
        Vector256<T> wide;
        var ok = operation switch
        {
            0 or 1 => SseFast.TryAdd(a, b, operation == 1, out wide),
            2 => SseFast.TryMultiply(a, b, out wide),
            3 => SseFast.TryDivide(a, b, out wide),
            4 => SseFast.TrySquareRoot(a, out wide),
            _ => SseFast.TryMultiplyAdd(a, b, c, out wide),
        };
        if (ok)
        {
            taken++;
            for (var i = 0; i < Vector256<T>.Count; i++)
            {
                CheckLane(operation, a[i], b[i], c[i], wide[i]);
            }
        }
        Vector128<T> half;
        ok = operation switch
        {
            0 or 1 => SseFast.TryAdd(a.GetLower(), b.GetLower(), operation == 1, out half),
            2 => SseFast.TryMultiply(a.GetLower(), b.GetLower(), out half),
            3 => SseFast.TryDivide(a.GetLower(), b.GetLower(), out half),
            4 => SseFast.TrySquareRoot(a.GetLower(), out half),
            _ => SseFast.TryMultiplyAdd(a.GetLower(), b.GetLower(), c.GetLower(), out half),
        };
        if (ok)
        {
            taken++;
            for (var i = 0; i < Vector128<T>.Count; i++)
            {
                CheckLane(operation, a[i], b[i], c[i], half[i]);
            }
        }
        return taken;
    }

    private static void CheckLane<T>(int operation, T a, T b, T c, T result) where T : unmanaged
    {
        var raised = 0u;
        var expected = typeof(T) == typeof(float)
            ? Soft<Binary32>(operation, Bits(a), Bits(b), Bits(c), ref raised) : Soft<Binary64>(operation, Bits(a), Bits(b), Bits(c), ref raised);
        Assert.Equal(expected, Bits(result));
        Assert.Equal(0u, raised & ~FpFlags.Precision);
    }

    private static ulong Bits<T>(T value) => value switch
    {
        float f => BitConverter.SingleToUInt32Bits(f),
        double d => BitConverter.DoubleToUInt64Bits(d),
        _ => throw new InvalidOperationException(),
    };

    private static ulong Soft<TFormat>(int operation, ulong a, ulong b, ulong c, ref uint raised) where TFormat : struct, IBinaryFormat => operation switch
    {
        0 => SoftFloat<TFormat>.Add(a, b, Eligible, ref raised),
        1 => SoftFloat<TFormat>.Subtract(a, b, Eligible, ref raised),
        2 => SoftFloat<TFormat>.Multiply(a, b, Eligible, ref raised),
        3 => SoftFloat<TFormat>.Divide(a, b, Eligible, ref raised),
        4 => SoftFloat<TFormat>.SquareRoot(a, Eligible, ref raised),
        _ => SoftFloat<TFormat>.MultiplyAdd(a, b, c, false, false, Eligible, ref raised),
    };
}
