// IEEE 754-2019 section 3.6: binary16.
namespace Vmm.Backends.Software.FloatingPoint;

/// <summary>The half-precision format.</summary>
internal readonly struct Binary16 : IBinaryFormat
{
    /// <inheritdoc/>
    public static int FractionBits => 10;

    /// <inheritdoc/>
    public static int MaxBiased => 31;

    /// <inheritdoc/>
    public static int Bias => 15;

    /// <inheritdoc/>
    public static ulong FractionMask => (1UL << 10) - 1;

    /// <inheritdoc/>
    public static ulong SignMask => 1UL << 15;

    /// <inheritdoc/>
    public static ulong InfinityBits => 31UL << 10;
}
