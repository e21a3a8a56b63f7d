// Intel SDM vol. 1, chapter 8 (x87 FPU), in particular 8.4 and 8.5 (exceptions); vol. 2 for each instruction.
using System.Runtime.CompilerServices;

namespace Vmm.Backends.Software.FloatingPoint;

/// <summary>
/// The arithmetic of the x87 FPU. Every operation takes the control word, adds the raised exceptions and C1 (or the condition
/// codes that it defines) to a status accumulator that the caller has cleared, and returns the value for the destination. When
/// <see cref="HasNoResult"/> then says so, the destination keeps its old value: the returned one is meaningless.
/// </summary>
internal static partial class X87Math
{
    /// <summary>The bias adjustment of unmasked overflow and underflow (SDM vol. 1, 8.5.4 and 8.5.5).</summary>
    private const int UnmaskedAdjustment = 24576;

    private const int MinExponent = 1 - Float80.Bias;
    private const int MaxExponent = Float80.Bias;

    /// <summary>
    /// Whether an unmasked exception found before computing (IE, DE, ZE) forbids writing the result. A store to memory is also
    /// forbidden by unmasked OE and UE; a store to a register then gets the value with the adjusted exponent.
    /// </summary>
    /// <param name="control">The control word.</param>
    /// <param name="status">The accumulator that the operation filled.</param>
    /// <param name="toMemory">Whether the destination is a floating-point number in memory.</param>
    public static bool HasNoResult(uint control, uint status, bool toMemory = false) =>
        (status & ~control & (FpFlags.PreComputation | (toMemory ? FpFlags.Overflow | FpFlags.Underflow : 0))) != 0;

    /// <summary>The rounding mode of a control word.</summary>
    public static Rounding RoundingOf(uint control) => (Rounding)(control >> 10 & 3);

    /// <summary>The number of significand bits of a control word's precision control.</summary>
    public static int PrecisionOf(uint control) => (control >> 8 & 3) switch { 0 => 24, 2 => 53, _ => 64 };

    /// <summary>FADD: <c>a + b</c>.</summary>
    public static Float80 Add(in Unpacked a, in Unpacked b, uint control, ref uint status)
    {
        if (a.IsNotNumber || b.IsNotNumber)
        {
            return PropagateNaN(a, b, ref status);
        }
        if (a.Kind == FpClass.Infinity && b.Kind == FpClass.Infinity && a.Sign != b.Sign)
        {
            return Invalid(ref status);
        }
        if (StopsForDenormal(a.Denormal || b.Denormal, control, ref status))
        {
            return default;
        }
        if (a.Kind == FpClass.Infinity || b.Kind == FpClass.Infinity)
        {
            return Float80.SignedInfinity(a.Kind == FpClass.Infinity ? a.Sign : b.Sign);
        }
        if (a.Kind == FpClass.Zero && b.Kind == FpClass.Zero)
        {
            return Float80.SignedZero(a.Sign == b.Sign ? a.Sign : RoundingOf(control) == Rounding.Down);
        }
        var sum = a.Kind == FpClass.Zero ? Exact.From(b) : b.Kind == FpClass.Zero ? Exact.From(a) : Exact.Add(a, b);
        return sum.IsZero ? Float80.SignedZero(RoundingOf(control) == Rounding.Down)
            : Round(sum, PrecisionOf(control), control, ref status);
    }

    /// <summary>FSUB: <c>a - b</c>. The sign of a NaN operand is not changed.</summary>
    public static Float80 Subtract(in Unpacked a, in Unpacked b, uint control, ref uint status) =>
        Add(a, b.IsNotNumber ? b : b.Negated, control, ref status);

    /// <summary>FMUL: <c>a * b</c>.</summary>
    public static Float80 Multiply(in Unpacked a, in Unpacked b, uint control, ref uint status)
    {
        if (a.IsNotNumber || b.IsNotNumber)
        {
            return PropagateNaN(a, b, ref status);
        }
        var infinite = a.Kind == FpClass.Infinity || b.Kind == FpClass.Infinity;
        var zero = a.Kind == FpClass.Zero || b.Kind == FpClass.Zero;
        if (infinite && zero)
        {
            return Invalid(ref status);
        }
        if (StopsForDenormal(a.Denormal || b.Denormal, control, ref status))
        {
            return default;
        }
        return infinite ? Float80.SignedInfinity(a.Sign ^ b.Sign)
            : zero ? Float80.SignedZero(a.Sign ^ b.Sign)
            : Round(Exact.Multiply(a, b), PrecisionOf(control), control, ref status);
    }

    /// <summary>FDIV: <c>a / b</c>.</summary>
    public static Float80 Divide(in Unpacked a, in Unpacked b, uint control, ref uint status)
    {
        if (a.IsNotNumber || b.IsNotNumber)
        {
            return PropagateNaN(a, b, ref status);
        }
        if (a.Kind == b.Kind && a.Kind != FpClass.Finite)
        {
            return Invalid(ref status); // 0/0 and infinity/infinity
        }
        if (b.Kind == FpClass.Zero && a.Kind == FpClass.Finite)
        {
            status |= FpFlags.ZeroDivide;
            return Float80.SignedInfinity(a.Sign ^ b.Sign);
        }
        if (StopsForDenormal(a.Denormal || b.Denormal, control, ref status))
        {
            return default;
        }
        return a.Kind == FpClass.Infinity || b.Kind == FpClass.Zero ? Float80.SignedInfinity(a.Sign ^ b.Sign)
            : a.Kind == FpClass.Zero || b.Kind == FpClass.Infinity ? Float80.SignedZero(a.Sign ^ b.Sign)
            : Round(Exact.Divide(a, b), PrecisionOf(control), control, ref status);
    }

    /// <summary>FSQRT.</summary>
    public static Float80 SquareRoot(in Unpacked a, uint control, ref uint status)
    {
        if (a.IsNotNumber)
        {
            return PropagateNaN(a, ref status);
        }
        if (a.Kind == FpClass.Zero)
        {
            return Float80.SignedZero(a.Sign);
        }
        if (a.Sign)
        {
            return Invalid(ref status);
        }
        if (a.Kind == FpClass.Infinity)
        {
            return Float80.Infinity;
        }
        return StopsForDenormal(a.Denormal, control, ref status) ? default
            : Round(Exact.SquareRoot(a), PrecisionOf(control), control, ref status);
    }

    /// <summary>Reports IE and gives the default NaN.</summary>
    private static Float80 Invalid(ref uint status)
    {
        status |= FpFlags.Invalid;
        return Float80.Indefinite;
    }

    /// <summary>Reports DE where due; true when it is unmasked, so that the operation ends without a result.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool StopsForDenormal(bool denormal, uint control, ref uint status)
    {
        if (!denormal)
        {
            return false;
        }
        status |= FpFlags.Denormal;
        return (control & FpFlags.Denormal) == 0;
    }

    /// <summary>A one-operand operation's result for a NaN or an unsupported operand.</summary>
    private static Float80 PropagateNaN(in Unpacked a, ref uint status)
    {
        if (a.Kind == FpClass.Unsupported)
        {
            return Invalid(ref status);
        }
        status |= a.Kind == FpClass.SignalingNaN ? FpFlags.Invalid : 0;
        return Quieted(a);
    }

    /// <summary>A two-operand operation's result where at least one is a NaN or unsupported (SDM vol. 1, table 4-7).</summary>
    private static Float80 PropagateNaN(in Unpacked a, in Unpacked b, ref uint status)
    {
        if (a.Kind == FpClass.Unsupported || b.Kind == FpClass.Unsupported)
        {
            return Invalid(ref status);
        }
        if (a.Kind == FpClass.SignalingNaN || b.Kind == FpClass.SignalingNaN)
        {
            status |= FpFlags.Invalid;
        }
        if (!a.IsNaN || !b.IsNaN)
        {
            return Quieted(a.IsNaN ? a : b);
        }
        if (a.Kind != b.Kind)
        {
            return Quieted(a.Kind == FpClass.QuietNaN ? a : b);
        }
        return Quieted(a.Significand > b.Significand || (a.Significand == b.Significand && !a.Sign) ? a : b);
    }

    private static Float80 Quieted(in Unpacked nan) => new(nan.Sign ? (ushort)0xFFFF : (ushort)0x7FFF, nan.Significand | Unpacked.QuietBit);

    /// <summary>
    /// Rounds to the given precision and packs, with the masked and unmasked responses to overflow and underflow.
    /// </summary>
    private static Float80 Round(in Exact value, int precision, uint control, ref uint status)
    {
        var mode = RoundingOf(control);
        var significand = Rounder.Round(value.High, value.Low, precision, mode, value.Sign, out var inexact, out var up, out var carry);
        var exponent = value.Exponent;
        if (carry)
        {
            significand = Float80.IntegerBit;
            exponent++;
        }
        if (exponent > MaxExponent)
        {
            status |= FpFlags.Overflow;
            if ((control & FpFlags.Overflow) != 0)
            {
                return Overflowed(value.Sign, precision, mode, ref status);
            }
            exponent -= UnmaskedAdjustment;
            if (exponent > MaxExponent)
            {
                // Only FSCALE gets so far ("massive overflow"): infinity whatever the rounding.
                ReportInexact(true, true, ref status);
                return Float80.SignedInfinity(value.Sign);
            }
        }
        else if (exponent < MinExponent)
        {
            if ((control & FpFlags.Underflow) != 0)
            {
                return Denormalized(value, precision, mode, ref status);
            }
            status |= FpFlags.Underflow;
            exponent += UnmaskedAdjustment;
            if (exponent < MinExponent)
            {
                ReportInexact(true, false, ref status);
                return Float80.SignedZero(value.Sign);
            }
        }
        ReportInexact(inexact, up, ref status);
        return Pack(value.Sign, exponent, significand);
    }

    private static Float80 Overflowed(bool sign, int precision, Rounding mode, ref uint status)
    {
        var toInfinity = mode == Rounding.Nearest || mode == (sign ? Rounding.Down : Rounding.Up);
        ReportInexact(true, toInfinity, ref status);
        return toInfinity ? Float80.SignedInfinity(sign) : Pack(sign, MaxExponent, ulong.MaxValue << (64 - precision));
    }

    private static Float80 Denormalized(in Exact value, int precision, Rounding mode, ref uint status)
    {
        var wide = Exact.ShiftRightSticky(new UInt128(value.High, value.Low), Math.Min(MinExponent - value.Exponent, 128));
        var significand = Rounder.Round(
            (ulong)(wide >> 64), (ulong)wide, precision, mode, value.Sign, out var inexact, out var up, out _);
        status |= inexact ? FpFlags.Underflow : 0;
        ReportInexact(inexact, up, ref status);
        // A carry into the integer bit makes it the smallest normal number.
        return new((ushort)((value.Sign ? 0x8000u : 0) | (uint)(significand >> 63)), significand);
    }

    private static void ReportInexact(bool inexact, bool up, ref uint status)
    {
        if (inexact)
        {
            status |= FpFlags.Precision | (up ? FpFlags.C1 : 0);
        }
    }

    private static Float80 Pack(bool sign, int exponent, ulong significand) =>
        new((ushort)((sign ? 0x8000 : 0) | (exponent + Float80.Bias)), significand);
}
