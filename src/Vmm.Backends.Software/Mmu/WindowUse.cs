namespace Vmm.Backends.Software.Mmu;

/// <summary>What a window is for: the check in translated code that it belongs to.</summary>
/// <param name="View">The set of the TLB that the check stands for.</param>
/// <param name="Write">Whether it writes.</param>
/// <param name="Span">Bytes that it is about.</param>
/// <param name="Alignment">Low bits of the address that must be zero.</param>
/// <param name="Constant">Its address, if that is always the same.</param>
internal readonly record struct WindowUse(byte View, bool Write, ushort Span, byte Alignment, ulong? Constant)
{
    /// <summary>The array of the TLB that it follows.</summary>
    public int Array => View * 2 + (Write ? 1 : 0);
}
