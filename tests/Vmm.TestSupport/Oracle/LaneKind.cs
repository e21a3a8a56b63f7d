namespace Vmm.TestSupport.Oracle;

/// <summary>How the bits of a vector register or of memory are filled.</summary>
public enum LaneKind
{
    /// <summary>Random bits.</summary>
    Random,

    /// <summary>Bytes with edge values.</summary>
    Int8,

    /// <summary>Words with edge values.</summary>
    Int16,

    /// <summary>Doublewords with edge values.</summary>
    Int32,

    /// <summary>Quadwords with edge values.</summary>
    Int64,

    /// <summary>Half-precision numbers with special values.</summary>
    Float16,

    /// <summary>Single-precision numbers with special values.</summary>
    Float32,

    /// <summary>Double-precision numbers with special values.</summary>
    Float64,

    /// <summary>80-bit numbers with special values, packed.</summary>
    Float80,

    /// <summary>Packed decimal, mostly valid.</summary>
    Bcd,

    /// <summary>Small quadwords, as shift counts are.</summary>
    Count,

    /// <summary>Bytes of a small alphabet, with zeros.</summary>
    Text,

    /// <summary>All bytes 0 or all bytes 0xFF.</summary>
    Uniform,
}
