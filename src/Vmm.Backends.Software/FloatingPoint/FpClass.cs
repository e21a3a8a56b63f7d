// Intel SDM vol. 1, 4.8.3 (real number and non-number encodings), 8.2.2 (unsupported extended encodings).
namespace Vmm.Backends.Software.FloatingPoint;

/// <summary>What an encoding stands for.</summary>
internal enum FpClass : byte
{
    /// <summary>A signed zero.</summary>
    Zero,

    /// <summary>A non-zero number, normal or denormal.</summary>
    Finite,

    /// <summary>A signed infinity.</summary>
    Infinity,

    /// <summary>A NaN with its quiet bit set.</summary>
    QuietNaN,

    /// <summary>A NaN with its quiet bit clear.</summary>
    SignalingNaN,

    /// <summary>An extended encoding without the integer bit that it ought to have: an invalid operand.</summary>
    Unsupported,
}
