// IEEE 754-2019 section 3.6 (interchange format parameters).
namespace Vmm.Backends.Software.FloatingPoint;

/// <summary>The parameters of a binary interchange format; each is a constant once the generic code is specialised.</summary>
internal interface IBinaryFormat
{
    /// <summary>Stored fraction bits.</summary>
    static abstract int FractionBits { get; }

    /// <summary>The biased exponent of infinities and NaNs.</summary>
    static abstract int MaxBiased { get; }

    /// <summary>The exponent bias, which is also the largest exponent.</summary>
    static abstract int Bias { get; }

    /// <summary>The fraction field.</summary>
    static abstract ulong FractionMask { get; }

    /// <summary>The sign bit.</summary>
    static abstract ulong SignMask { get; }

    /// <summary>Plus infinity.</summary>
    static abstract ulong InfinityBits { get; }
}
