// IEEE 754-2019 section 3.6: binary32.
namespace Vmm.Backends.Software.FloatingPoint;

/// <summary>The single-precision format.</summary>
internal readonly struct Binary32 : IBinaryFormat
{
    /// <inheritdoc/>
    public static int FractionBits => 23;

    /// <inheritdoc/>
    public static int MaxBiased => 255;

    /// <inheritdoc/>
    public static int Bias => 127;

    /// <inheritdoc/>
    public static ulong FractionMask => (1UL << 23) - 1;

    /// <inheritdoc/>
    public static ulong SignMask => 1UL << 31;

    /// <inheritdoc/>
    public static ulong InfinityBits => 255UL << 23;
}
