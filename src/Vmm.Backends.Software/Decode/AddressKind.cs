namespace Vmm.Backends.Software.Decode;

/// <summary>How a memory operand becomes a linear address.</summary>
internal enum AddressKind : byte
{
    /// <summary>64-bit mode, 64-bit address, segment base zero: base + index + displacement.</summary>
    Flat64,

    /// <summary>64-bit mode, 64-bit address, FS or GS base added.</summary>
    Based64,

    /// <summary>64-bit mode with a 32-bit address, truncated before the segment base is added.</summary>
    Truncated64,

    /// <summary>Outside 64-bit mode with 32-bit addressing: limits and types are checked.</summary>
    Segmented32,

    /// <summary>Outside 64-bit mode with 16-bit addressing: limits and types are checked.</summary>
    Segmented16,
}
