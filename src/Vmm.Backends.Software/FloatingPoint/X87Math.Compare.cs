// Intel SDM vol. 2: FCOM, FUCOM, FTST.
namespace Vmm.Backends.Software.FloatingPoint;

internal static partial class X87Math
{
    /// <summary>FCOM, FICOM, FTST, FCOMI: <paramref name="a"/> (ST0) against <paramref name="b"/>; every NaN is invalid.</summary>
    /// <returns>
    /// C3, C2, C0 as the SDM's tables have them; for FCOMI they are ZF, PF and CF. Processors set them even where an exception
    /// is unmasked.
    /// </returns>
    public static uint Compare(in Unpacked a, in Unpacked b, ref uint status) => Compare(a, b, true, ref status);

    /// <summary>FUCOM, FUCOMI: only signaling NaNs and unsupported encodings are invalid.</summary>
    public static uint CompareUnordered(in Unpacked a, in Unpacked b, ref uint status) => Compare(a, b, false, ref status);

    private static uint Compare(in Unpacked a, in Unpacked b, bool quietIsInvalid, ref uint status)
    {
        if (a.IsNotNumber || b.IsNotNumber)
        {
            if (quietIsInvalid || a.Kind > FpClass.QuietNaN || b.Kind > FpClass.QuietNaN)
            {
                status |= FpFlags.Invalid;
            }
            return FpFlags.C3 | FpFlags.C2 | FpFlags.C0;
        }
        status |= a.Denormal || b.Denormal ? FpFlags.Denormal : 0;
        var order = Order(a, b);
        return order == 0 ? FpFlags.C3 : order < 0 ? FpFlags.C0 : 0;
    }

    /// <summary>The order of two numbers: negative, zero or positive.</summary>
    internal static int Order(in Unpacked a, in Unpacked b)
    {
        if (a.Kind == FpClass.Zero && b.Kind == FpClass.Zero)
        {
            return 0;
        }
        var signA = a.Kind == FpClass.Zero ? 0 : a.Sign ? -1 : 1;
        var signB = b.Kind == FpClass.Zero ? 0 : b.Sign ? -1 : 1;
        if (signA != signB)
        {
            return signA.CompareTo(signB);
        }
        var magnitude = a.Kind != b.Kind ? a.Kind.CompareTo(b.Kind)
            : a.Exponent != b.Exponent ? a.Exponent.CompareTo(b.Exponent) : a.Significand.CompareTo(b.Significand);
        return a.Sign ? -magnitude : magnitude;
    }
}
