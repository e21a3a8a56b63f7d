// Intel SDM vol. 1, 4.8.4 (rounding), 4.9.1.5 (underflow: tininess is detected after rounding).
using System.Runtime.CompilerServices;

namespace Vmm.Backends.Software.FloatingPoint;

/// <summary>Rounding of 128-bit significands to at most 64 bits.</summary>
internal static class Rounder
{
    /// <summary>
    /// Rounds <c>high:low</c> so that only the upper <paramref name="precision"/> bits of the upper half can be set.
    /// </summary>
    /// <param name="high">The upper half.</param>
    /// <param name="low">The lower half with its sticky bit.</param>
    /// <param name="precision">How many of the bits of the upper half are kept, 1 to 64.</param>
    /// <param name="mode">The rounding mode.</param>
    /// <param name="sign">The sign of the value.</param>
    /// <param name="inexact">Whether anything was lost.</param>
    /// <param name="up">Whether the magnitude was made larger.</param>
    /// <param name="carry">Whether the increment ran out of bit 63; the significand is then 0 for 2^64.</param>
    /// <returns>The upper half, rounded.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Round(
        ulong high, ulong low, int precision, Rounding mode, bool sign, out bool inexact, out bool up, out bool carry)
    {
        var unit = 1UL << (64 - precision);
        var lost = high & (unit - 1);
        bool half, rest;
        if (precision == 64)
        {
            half = (long)low < 0;
            rest = low << 1 != 0;
        }
        else
        {
            half = (lost & unit >> 1) != 0;
            rest = ((lost & (unit >> 1) - 1) | low) != 0;
        }
        inexact = half || rest;
        up = inexact && mode switch
        {
            Rounding.Nearest => half && (rest || (high & unit) != 0),
            Rounding.Down => sign,
            Rounding.Up => !sign,
            _ => false,
        };
        var kept = high - lost;
        if (up)
        {
            kept += unit;
        }
        carry = up && kept == 0;
        return kept;
    }

    /// <summary>Rounds a value to an integer of at most 64 bits.</summary>
    /// <param name="value">The finite value.</param>
    /// <param name="mode">The rounding mode.</param>
    /// <param name="inexact">Whether anything was lost.</param>
    /// <param name="up">Whether the magnitude was made larger.</param>
    /// <param name="tooLarge">Whether the magnitude needs more than 64 bits.</param>
    /// <returns>The magnitude.</returns>
    public static ulong ToInteger(in Unpacked value, Rounding mode, out bool inexact, out bool up, out bool tooLarge)
    {
        tooLarge = value.Exponent > 63;
        inexact = up = false;
        if (tooLarge)
        {
            return 0;
        }
        var wide = Exact.ShiftRightSticky((UInt128)value.Significand << 64, Math.Min(63 - value.Exponent, 128));
        var result = Round((ulong)(wide >> 64), (ulong)wide, 64, mode, value.Sign, out inexact, out up, out tooLarge);
        return result;
    }
}
