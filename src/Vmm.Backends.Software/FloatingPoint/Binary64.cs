// IEEE 754-2019 section 3.6: binary64.
namespace Vmm.Backends.Software.FloatingPoint;

/// <summary>The double-precision format.</summary>
internal readonly struct Binary64 : IBinaryFormat
{
    /// <inheritdoc/>
    public static int FractionBits => 52;

    /// <inheritdoc/>
    public static int MaxBiased => 2047;

    /// <inheritdoc/>
    public static int Bias => 1023;

    /// <inheritdoc/>
    public static ulong FractionMask => (1UL << 52) - 1;

    /// <inheritdoc/>
    public static ulong SignMask => 1UL << 63;

    /// <inheritdoc/>
    public static ulong InfinityBits => 2047UL << 52;
}
