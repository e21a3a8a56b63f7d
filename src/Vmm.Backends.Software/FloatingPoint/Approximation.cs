// Intel SDM vol. 2: RCPPS, RSQRTPS (relative error at most 1.5 * 2^-12, no exceptions, MXCSR is not read).
namespace Vmm.Backends.Software.FloatingPoint;

/// <summary>The approximations of SSE. Denormal operands count as zeros and denormal results become zeros.</summary>
internal static class Approximation
{
    private const uint SignMask = 0x8000_0000;
    private const uint InfinityBits = 0x7F80_0000;
    private const uint QuietBit = 0x0040_0000;
    private const uint SmallestNormal = 0x0080_0000;

    /// <summary>RCPSS.</summary>
    /// <param name="bits">The binary32 operand.</param>
    public static uint Reciprocal(uint bits)
    {
        var magnitude = bits & ~SignMask;
        var sign = bits & SignMask;
        if (magnitude > InfinityBits)
        {
            return bits | QuietBit;
        }
        if (magnitude < SmallestNormal)
        {
            return sign | InfinityBits;
        }
        var result = Shorten(BitConverter.SingleToUInt32Bits(1f / BitConverter.UInt32BitsToSingle(magnitude)));
        return sign | (result < SmallestNormal ? 0 : result);
    }

    /// <summary>RSQRTSS.</summary>
    /// <param name="bits">The binary32 operand.</param>
    public static uint ReciprocalSquareRoot(uint bits)
    {
        var magnitude = bits & ~SignMask;
        var sign = bits & SignMask;
        if (magnitude > InfinityBits)
        {
            return bits | QuietBit;
        }
        if (magnitude < SmallestNormal)
        {
            return sign | InfinityBits;
        }
        if (sign != 0)
        {
            return SignMask | InfinityBits | QuietBit;
        }
        return magnitude == InfinityBits ? 0
            : Shorten(BitConverter.SingleToUInt32Bits((float)(1 / Math.Sqrt(BitConverter.UInt32BitsToSingle(magnitude)))));
    }

    // Twelve bits of fraction, as tables have; powers of two come out exact.
    private static uint Shorten(uint bits) => bits + 0x400 & ~0x7FFu;
}
