// Intel SDM vol. 2: FLD, FST, FIST, FISTTP, FBLD, FBSTP, FRNDINT, and the constants of FLD1 and its kin.
namespace Vmm.Backends.Software.FloatingPoint;

internal static partial class X87Math
{
    /// <summary>
    /// FLD of a binary32 or binary64 number: quiets signaling NaNs, reports denormals. Unlike elsewhere a denormal is
    /// loaded even when DE is unmasked.
    /// </summary>
    /// <param name="bits">The number in memory.</param>
    /// <param name="status">The accumulator.</param>
    public static Float80 Load<TFormat>(ulong bits, ref uint status) where TFormat : struct, IBinaryFormat
    {
        var a = Unpacked.Decode<TFormat>(bits);
        if (a.IsNotNumber)
        {
            return PropagateNaN(a, ref status);
        }
        status |= a.Denormal ? FpFlags.Denormal : 0;
        return a.Kind switch
        {
            FpClass.Zero => Float80.SignedZero(a.Sign),
            FpClass.Infinity => Float80.SignedInfinity(a.Sign),
            _ => Pack(a.Sign, a.Exponent, a.Significand),
        };
    }

    /// <summary>FST to a binary32 or binary64 number in memory.</summary>
    /// <returns>The bits; not to be written when <see cref="HasNoResult"/> (to memory) says so.</returns>
    public static ulong Store<TFormat>(in Float80 value, uint control, ref uint status) where TFormat : struct, IBinaryFormat
    {
        var a = value.Unpack();
        switch (a.Kind)
        {
            case FpClass.Zero:
                return a.Sign ? TFormat.SignMask : 0;
            case FpClass.Infinity:
                return TFormat.InfinityBits | (a.Sign ? TFormat.SignMask : 0);
            case FpClass.Unsupported:
                status |= FpFlags.Invalid;
                return new Unpacked(FpClass.QuietNaN, true, 0, 0).EncodeNaN<TFormat>();
            case FpClass.QuietNaN or FpClass.SignalingNaN:
                status |= a.Kind == FpClass.SignalingNaN ? FpFlags.Invalid : 0;
                return a.EncodeNaN<TFormat>();
        }
        var raised = 0u;
        // An unmasked exception leaves memory alone, so that the masked bits are good enough then; only the flags differ.
        var bits = SoftFloat<TFormat>.Round(
            Exact.From(a), RoundingOf(control), flushToZero: false, control, ref raised, out var up);
        status |= raised | (up ? FpFlags.C1 : 0);
        if ((status & ~control & (FpFlags.Overflow | FpFlags.Underflow)) != 0)
        {
            status &= ~(FpFlags.Precision | FpFlags.C1);
        }
        return bits;
    }

    /// <summary>FIST (rounding as the control word says) and FISTTP (towards zero) to a signed integer.</summary>
    /// <param name="value">ST0.</param>
    /// <param name="bits">16, 32 or 64.</param>
    /// <param name="truncate">FISTTP.</param>
    /// <param name="control">The control word.</param>
    /// <param name="status">The accumulator.</param>
    /// <returns>The integer; the most negative one ("integer indefinite") when invalid.</returns>
    public static long StoreInteger(in Float80 value, int bits, bool truncate, uint control, ref uint status)
    {
        var a = value.Unpack();
        var limit = 1UL << (bits - 1);
        if (a.Kind == FpClass.Zero)
        {
            return 0;
        }
        if (a.Kind == FpClass.Finite)
        {
            var magnitude = Rounder.ToInteger(
                a, truncate ? Rounding.Truncate : RoundingOf(control), out var inexact, out var up, out var tooLarge);
            if (!tooLarge && (magnitude < limit || (a.Sign && magnitude == limit)))
            {
                ReportInexact(inexact, up, ref status);
                return a.Sign ? (long)(0 - magnitude) : (long)magnitude;
            }
        }
        status |= FpFlags.Invalid;
        return (long)(0 - limit);
    }

    /// <summary>FRNDINT.</summary>
    public static Float80 RoundToInteger(in Float80 value, uint control, ref uint status)
    {
        var a = value.Unpack();
        if (a.IsNotNumber)
        {
            return PropagateNaN(a, ref status);
        }
        if (a.Kind != FpClass.Finite || StopsForDenormal(a.Denormal, control, ref status) || a.Exponent >= 63)
        {
            return value;
        }
        var magnitude = Rounder.ToInteger(a, RoundingOf(control), out var inexact, out var up, out _);
        ReportInexact(inexact, up, ref status);
        if (magnitude == 0)
        {
            return Float80.SignedZero(a.Sign);
        }
        var rounded = Unpacked.FromMagnitude(a.Sign, magnitude);
        return Pack(a.Sign, rounded.Exponent, rounded.Significand);
    }

    /// <summary>FBLD: 18 packed decimal digits and a sign. Digits above nine count as they are (the SDM leaves them undefined).</summary>
    /// <param name="low">Bytes 0 to 7.</param>
    /// <param name="high">Bytes 8 and 9.</param>
    public static Float80 LoadDecimal(ulong low, ushort high)
    {
        var magnitude = 0UL;
        var digits = new UInt128((ulong)(high & 0xFF), low);
        for (var i = 17; i >= 0; i--)
        {
            magnitude = magnitude * 10 + (ulong)(digits >> (4 * i) & 15);
        }
        var a = Unpacked.FromMagnitude(false, magnitude);
        var sign = (high & 0x8000) != 0;
        return magnitude == 0 ? Float80.SignedZero(sign) : Pack(sign, a.Exponent, a.Significand);
    }

    /// <summary>FBSTP.</summary>
    /// <returns>Bytes 0 to 7 and bytes 8 to 9; the packed decimal indefinite when invalid.</returns>
    public static (ulong Low, ushort High) StoreDecimal(in Float80 value, uint control, ref uint status)
    {
        var a = value.Unpack();
        var magnitude = 0UL;
        var valid = a.Kind == FpClass.Zero;
        if (a.Kind == FpClass.Finite)
        {
            magnitude = Rounder.ToInteger(a, RoundingOf(control), out var inexact, out var up, out var tooLarge);
            valid = !tooLarge && magnitude < 1_000_000_000_000_000_000;
            if (valid)
            {
                ReportInexact(inexact, up, ref status);
            }
        }
        if (!valid)
        {
            status |= FpFlags.Invalid;
            return (0xC000_0000_0000_0000, 0xFFFF);
        }
        var digits = UInt128.Zero;
        for (var i = 0; i < 18; i++)
        {
            digits |= (UInt128)(magnitude % 10) << (4 * i);
            magnitude /= 10;
        }
        return ((ulong)digits, (ushort)((ushort)(digits >> 64) | (a.Sign ? 0x8000 : 0)));
    }

    /// <summary>FLDPI, which like the four below depends on the rounding control and raises nothing.</summary>
    public static Float80 Pi(uint control) => Constant(0x4000, 0xC90FDAA22168C234, nearestIsUp: true, control);

    /// <summary>FLDL2T: log2(10).</summary>
    public static Float80 Log2Of10(uint control) => Constant(0x4000, 0xD49A784BCD1B8AFE, nearestIsUp: false, control);

    /// <summary>FLDL2E: log2(e).</summary>
    public static Float80 Log2OfE(uint control) => Constant(0x3FFF, 0xB8AA3B295C17F0BB, nearestIsUp: true, control);

    /// <summary>FLDLG2: log10(2).</summary>
    public static Float80 Log10Of2(uint control) => Constant(0x3FFD, 0x9A209A84FBCFF798, nearestIsUp: true, control);

    /// <summary>FLDLN2: ln(2).</summary>
    public static Float80 LnOf2(uint control) => Constant(0x3FFE, 0xB17217F7D1CF79AB, nearestIsUp: true, control);

    private static Float80 Constant(ushort exponent, ulong truncated, bool nearestIsUp, uint control) => RoundingOf(control) switch
    {
        Rounding.Nearest => new(exponent, truncated + (nearestIsUp ? 1UL : 0)),
        Rounding.Up => new(exponent, truncated + 1),
        _ => new(exponent, truncated),
    };
}
