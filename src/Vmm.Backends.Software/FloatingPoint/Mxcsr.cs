// Intel SDM vol. 1, 10.2.3 (MXCSR) and 11.5 (SSE exceptions).
using System.Runtime.CompilerServices;

namespace Vmm.Backends.Software.FloatingPoint;

/// <summary>Readings of MXCSR. Its exception flags are bits 5:0, as in <see cref="FpFlags"/>; the masks are seven bits higher.</summary>
internal static class Mxcsr
{
    /// <summary>DAZ: denormal operands count as zeros.</summary>
    public const uint DenormalsAreZeros = 1u << 6;

    /// <summary>FTZ: tiny results become zeros while underflow is masked.</summary>
    public const uint FlushToZero = 1u << 15;

    /// <summary>The value after reset.</summary>
    public const uint PowerOn = 0x1F80;

    private const int MaskShift = 7;

    /// <summary>RC.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Rounding RoundingOf(uint mxcsr) => (Rounding)(mxcsr >> 13 & 3);

    /// <summary>The masked exceptions, at the places of their flags.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint MasksOf(uint mxcsr) => mxcsr >> MaskShift & FpFlags.AllExceptions;

    /// <summary>Whether an exception is masked.</summary>
    public static bool IsMasked(uint mxcsr, uint flag) => (mxcsr >> MaskShift & flag) != 0;

    /// <summary>
    /// Ends an instruction: adds the flags of all its elements to MXCSR and tells whether it faults. An unmasked exception
    /// found before computing keeps those found afterwards from being reported (SDM vol. 1, 11.5.3).
    /// </summary>
    /// <param name="mxcsr">The register.</param>
    /// <param name="raised">The union of the elements' flags.</param>
    /// <returns>True when #XM (or #UD without CR4.OSXMMEXCPT) must be raised and the destination left as it was.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Commit(ref uint mxcsr, uint raised)
    {
        var unmasked = raised & ~(mxcsr >> MaskShift);
        if ((unmasked & FpFlags.PreComputation) != 0)
        {
            raised &= FpFlags.PreComputation;
        }
        mxcsr |= raised;
        return (unmasked & FpFlags.AllExceptions) != 0;
    }
}
