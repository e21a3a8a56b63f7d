using System.Runtime.InteropServices;

namespace Vmm.Core.X86;

/// <summary>A segment register with its hidden part (Intel SDM vol. 3, 3.4.3).</summary>
/// <param name="Base">Base address; 64 bits count for FS, GS, LDTR and TR.</param>
/// <param name="Limit">Limit in bytes, already scaled by granularity.</param>
/// <param name="Selector">The visible part.</param>
/// <param name="Attributes">Type in bits 3:0, S in 4, DPL in 6:5, P in 7, AVL in 12, L in 13, D/B in 14, G in 15: as VMCS and WHP have it.</param>
[StructLayout(LayoutKind.Sequential)]
public record struct SegmentState(ulong Base, uint Limit, ushort Selector, ushort Attributes)
{
    /// <summary>Whether the segment may be used: its present bit.</summary>
    public readonly bool IsPresent => (Attributes & 0x80) != 0;

    /// <summary>The descriptor privilege level, 0 to 3.</summary>
    public readonly int Dpl => (Attributes >> 5) & 3;

    /// <summary>A flat 64-bit code segment of ring 0, with a selector.</summary>
    /// <param name="selector">The visible part.</param>
    public static SegmentState Code64(ushort selector) => new(0, 0xFFFFFFFF, selector, 0xA09B);

    /// <summary>A flat 32-bit code segment of ring 0, with a selector.</summary>
    /// <param name="selector">The visible part.</param>
    public static SegmentState Code32(ushort selector) => new(0, 0xFFFFFFFF, selector, 0xC09B);

    /// <summary>A flat 32-bit data segment of ring 0, with a selector.</summary>
    /// <param name="selector">The visible part.</param>
    public static SegmentState Data32(ushort selector) => new(0, 0xFFFFFFFF, selector, 0xC093);

    /// <summary>A real-mode segment: base is 16 times the selector, limit 64 KiB.</summary>
    /// <param name="selector">The paragraph.</param>
    public static SegmentState RealMode(ushort selector) => new((ulong)selector << 4, 0xFFFF, selector, 0x93);
}
