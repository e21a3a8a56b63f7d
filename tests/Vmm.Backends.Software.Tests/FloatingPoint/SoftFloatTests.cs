using System.Globalization;
using Vmm.Backends.Software.FloatingPoint;
using Xunit;
using static Vmm.Backends.Software.Tests.FloatingPoint.HostOracle;

namespace Vmm.Backends.Software.Tests.FloatingPoint;

/// <summary>Every SSE/AVX scalar operation against the host CPU: all bits, all flags, and whether #XM comes.</summary>
public sealed class SoftFloatTests
{
    private const int Count = 20_000;

    private delegate ulong Compute(in Request request, ref uint raised);

    [Theory]
    [InlineData(100)]
    [InlineData(102)]
    [InlineData(104)]
    [InlineData(106)]
    [InlineData(108)]
    [InlineData(110)]
    [InlineData(112)]
    [InlineData(114)]
    [InlineData(116)]
    [InlineData(118)]
    [InlineData(120)]
    [InlineData(122)]
    [InlineData(124)]
    public void Arithmetic_HostCpu_Agrees(int operation)
    {
        Check<Binary32>(operation, (in r, ref raised) => Arithmetic<Binary32>(operation, r, ref raised), 32);
        Check<Binary64>(operation + 1, (in r, ref raised) => Arithmetic<Binary64>(operation, r, ref raised), 64);
    }

    [Theory]
    [InlineData(126, true)]
    [InlineData(128, false)]
    public void CompareFlags_HostCpu_Agrees(int operation, bool signaling)
    {
        Check<Binary32>(operation, (in r, ref raised) => SoftFloat<Binary32>.CompareFlags(r.A, r.B, signaling, r.Control, ref raised), 64);
        Check<Binary64>(operation + 1, (in r, ref raised) => SoftFloat<Binary64>.CompareFlags(r.A, r.B, signaling, r.Control, ref raised), 64);
    }

    [Fact]
    public void Compare_AllPredicates_AgreeWithHostCpu()
    {
        Check<Binary32>(150, (in r, ref raised) => SoftFloat<Binary32>.Compare(r.A, r.B, (int)r.Immediate, r.Control, ref raised) ? uint.MaxValue : 0, 32, 5);
        Check<Binary64>(151, (in r, ref raised) => SoftFloat<Binary64>.Compare(r.A, r.B, (int)r.Immediate, r.Control, ref raised) ? ulong.MaxValue : 0, 64, 5);
    }

    [Fact]
    public void RoundToIntegral_HostCpu_Agrees()
    {
        Check<Binary32>(152, (in r, ref raised) => SoftFloat<Binary32>.RoundToIntegral(r.A, (int)r.Immediate, r.Control, ref raised), 32, 4);
        Check<Binary64>(153, (in r, ref raised) => SoftFloat<Binary64>.RoundToIntegral(r.A, (int)r.Immediate, r.Control, ref raised), 64, 4);
    }

    [Fact]
    public void Convert_BetweenFormats_AgreesWithHostCpu()
    {
        Check<Binary32>(130, (in r, ref raised) => SoftFloat<Binary32>.Convert<Binary64>(r.A, r.Control, ref raised), 64);
        Check<Binary64>(131, (in r, ref raised) => SoftFloat<Binary64>.Convert<Binary32>(r.A, r.Control, ref raised), 32);
        Check<Binary16>(142, (in r, ref raised) => SoftFloat<Binary16>.Widen<Binary32>(r.A, ref raised), 32);
        Check<Binary32>(154, (in r, ref raised) => SoftFloat<Binary32>.Narrow<Binary16>(r.A, (int)r.Immediate, r.Control, ref raised), 16, 3);
    }

    [Fact]
    public void ToInteger_HostCpu_Agrees()
    {
        foreach (var (operation, bits, truncate) in new[] { (132, 32, false), (134, 64, false), (136, 32, true), (138, 64, true) })
        {
            Check<Binary32>(operation, (in r, ref raised) => (ulong)SoftFloat<Binary32>.ToInteger(r.A, bits, truncate, r.Control, ref raised), bits);
            Check<Binary64>(operation + 1, (in r, ref raised) => (ulong)SoftFloat<Binary64>.ToInteger(r.A, bits, truncate, r.Control, ref raised), bits);
        }
    }

    [Fact]
    public void FromInteger_HostCpu_Agrees()
    {
        Check<Binary64>(140, (in r, ref raised) => SoftFloat<Binary32>.FromInteger((long)r.A, r.Control, ref raised), 32, integers: true);
        Check<Binary64>(141, (in r, ref raised) => SoftFloat<Binary64>.FromInteger((long)r.A, r.Control, ref raised), 64, integers: true);
    }

    [Fact]
    public void Commit_UnmaskedPreComputationException_HidesLaterOnes()
    {
        var mxcsr = Mxcsr.PowerOn & ~(FpFlags.ZeroDivide << 7);
        Assert.True(Mxcsr.Commit(ref mxcsr, FpFlags.ZeroDivide | FpFlags.Precision | FpFlags.Denormal));
        Assert.Equal(FpFlags.ZeroDivide | FpFlags.Denormal, mxcsr & FpFlags.AllExceptions);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Approximation_NormalOperands_StaysWithinTheArchitecturalError(bool root)
    {
        var vectors = new FloatVectors(143);
        for (var i = 0; i < Count; i++)
        {
            var x = BitConverter.UInt32BitsToSingle((uint)vectors.Next<Binary32>() & (root ? 0x7FFF_FFFF : uint.MaxValue));
            var exact = root ? 1 / Math.Sqrt(x) : 1 / (double)x;
            if (!float.IsNormal(x) || Math.Abs(exact) < Math.ScaleB(1, -125))
            {
                continue;
            }
            var bits = BitConverter.SingleToUInt32Bits(x);
            var got = BitConverter.UInt32BitsToSingle(root ? Approximation.ReciprocalSquareRoot(bits) : Approximation.Reciprocal(bits));
            Assert.True(Math.Abs(got / exact - 1) <= 1.5 / 4096, x.ToString("R", CultureInfo.InvariantCulture));
        }
    }

    [Theory]
    [InlineData(143)]
    [InlineData(144)]
    public void Approximation_SpecialOperands_AgreeWithHostCpu(int operation)
    {
        using var oracle = StartOrSkip();
        uint[] values =
        [
            0, 0x8000_0000, 1, 0x8000_0001, 0x7F_FFFF, 0x807F_FFFF, 0x7F80_0000, 0xFF80_0000, 0x7F80_0001, 0xFFA0_0000, 0x7FC1_2345, 0xBF80_0000,
            0x3F80_0000, 0x7F7F_FFFF, 0xFF7F_FFFF, 0x7F00_0001,
        ];
        var requests = Array.ConvertAll(values, v => new Request { A = v, Control = Mxcsr.PowerOn });
        var answers = oracle.Ask(operation, requests);
        for (var i = 0; i < values.Length; i++)
        {
            var got = operation == 143 ? Approximation.Reciprocal(values[i]) : Approximation.ReciprocalSquareRoot(values[i]);
            var host = (uint)answers[i].First;
            var isNumber = (host & 0x7FFF_FFFF) is > 0x7F_FFFF and < 0x7F80_0000;
            Assert.True(isNumber ? Math.Abs((int)(got - host)) < 0x2000 : got == host, $"{values[i]:X}: got {got:X}, host {host:X}");
            Assert.Equal(0u, answers[i].Flags);
        }
    }

    private static ulong Arithmetic<TFormat>(int operation, in Request r, ref uint raised) where TFormat : struct, IBinaryFormat => operation switch
    {
        100 => SoftFloat<TFormat>.Add(r.A, r.B, r.Control, ref raised),
        102 => SoftFloat<TFormat>.Subtract(r.A, r.B, r.Control, ref raised),
        104 => SoftFloat<TFormat>.Multiply(r.A, r.B, r.Control, ref raised),
        106 => SoftFloat<TFormat>.Divide(r.A, r.B, r.Control, ref raised),
        108 => SoftFloat<TFormat>.SquareRoot(r.A, r.Control, ref raised),
        110 => SoftFloat<TFormat>.Minimum(r.A, r.B, r.Control, ref raised),
        112 => SoftFloat<TFormat>.Maximum(r.A, r.B, r.Control, ref raised),
        122 => SoftFloat<TFormat>.MultiplyAdd(r.A, r.C, r.B, false, false, r.Control, ref raised),
        124 => SoftFloat<TFormat>.MultiplyAdd(r.B, r.C, r.A, false, false, r.Control, ref raised),
        _ => SoftFloat<TFormat>.MultiplyAdd(r.B, r.A, r.C, operation >= 118, operation is 116 or 120, r.Control, ref raised),
    };

    private static void Check<TFormat>(int operation, Compute compute, int resultBits, int immediateBits = 0, bool integers = false)
        where TFormat : struct, IBinaryFormat
    {
        using var oracle = StartOrSkip();
        var vectors = new FloatVectors(operation);
        var requests = new Request[Count];
        foreach (ref var request in requests.AsSpan())
        {
            request = new()
            {
                A = integers ? vectors.Pattern() : vectors.Next<TFormat>(),
                B = vectors.Next<TFormat>(),
                C = vectors.Next<TFormat>(),
                Control = vectors.NextMxcsr(),
                Immediate = vectors.NextBits(immediateBits),
            };
            if (operation is >= 114 and < 126 && vectors.OneIn(3))
            {
                // The addend near the product, or at the distance where guard bits matter.
                var raised = 0u;
                request.C = SoftFloat<TFormat>.Multiply(request.A, request.B, Mxcsr.PowerOn, ref raised) ^ vectors.NextBits(1) ^ (vectors.OneIn(2) ? TFormat.SignMask : 0);
            }
        }
        var answers = oracle.Ask(operation, requests);
        var differences = new Differences("operation " + operation);
        var mask = resultBits == 64 ? ulong.MaxValue : (1UL << resultBits) - 1;
        for (var i = 0; i < Count; i++)
        {
            var raised = 0u;
            var result = compute(requests[i], ref raised);
            var mxcsr = requests[i].Control;
            var fault = Mxcsr.Commit(ref mxcsr, raised);
            var flags = mxcsr & FpFlags.AllExceptions;

            // A denormal that becomes too small for half precision, and faults for it: Intel's processors say that it is inexact too, AMD's do not.
            var open = operation == 154 && fault && flags == (FpFlags.Denormal | FpFlags.Underflow) ? FpFlags.Precision : 0;
            var ok = (flags | open) == (answers[i].Flags | open) && fault == (answers[i].Faulted != 0) && (fault || (result & mask) == (answers[i].First & mask));
            var r = requests[i];
            var h = answers[i];
            differences.Check(ok, () => $"{r.A:X} {r.B:X} {r.C:X} imm {r.Immediate} mxcsr {r.Control:X}: got {result:X} {flags:X} {fault}, host {h.First & mask:X} {h.Flags:X} {h.Faulted}");
        }
        differences.Assert();
    }
}
