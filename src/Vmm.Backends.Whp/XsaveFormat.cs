// Intel SDM vol. 1, 13.4: the XSAVE area. The platform exchanges the compacted format (13.4.3), saved states hold the standard one.
using System.Buffers.Binary;

namespace Vmm.Backends.Whp;

/// <summary>Between the two formats of an XSAVE area.</summary>
internal static class XsaveFormat
{
    /// <summary>XSTATE_BV, XCOMP_BV, and the first byte of the extended region.</summary>
    public const int Present = 512, Compaction = 520, Extended = 576;

    private const ulong Compacted = 1UL << 63;

    /// <summary>Offset in the standard format and size, by component; components 0 and 1 are the legacy region.</summary>
    private static readonly (int Offset, int Size)[] s_components = [(0, 0), (0, 0), (576, 256), (960, 64), (1024, 64), (1088, 64), (1152, 512), (1664, 1024), (0, 128), (2688, 8)];

    /// <summary>Whether an area is compacted.</summary>
    public static bool IsCompacted(ReadOnlySpan<byte> area) => (BinaryPrimitives.ReadUInt64LittleEndian(area[Compaction..]) & Compacted) != 0;

    /// <summary>Writes an area in the standard format.</summary>
    /// <param name="area">Either format.</param>
    /// <param name="standard">Overwritten.</param>
    public static void ToStandard(ReadOnlySpan<byte> area, Span<byte> standard)
    {
        standard.Clear();
        area[..Extended].CopyTo(standard);
        standard[Compaction..Extended].Clear();
        var compacted = IsCompacted(area);
        var (present, layout) = (BinaryPrimitives.ReadUInt64LittleEndian(area[Present..]), BinaryPrimitives.ReadUInt64LittleEndian(area[Compaction..]));
        ulong kept = present & 3;
        var next = Extended;
        for (var i = 2; i < s_components.Length; i++)
        {
            var (offset, size) = s_components[i];
            if (compacted && (layout >> i & 1) == 0) continue;
            var from = compacted ? next : offset;
            next += size;
            if ((present >> i & 1) == 0 || offset == 0 || from + size > area.Length) continue;
            area.Slice(from, size).CopyTo(standard[offset..]);
            kept |= 1UL << i;
        }

        BinaryPrimitives.WriteUInt64LittleEndian(standard[Present..], kept);
    }

    /// <summary>Writes an area in the compacted format with the components of XCR0.</summary>
    /// <param name="standard">The standard format.</param>
    /// <param name="xcr0">Which components have a place.</param>
    /// <param name="area">Overwritten.</param>
    /// <returns>How many bytes it takes.</returns>
    public static int ToCompacted(ReadOnlySpan<byte> standard, ulong xcr0, Span<byte> area)
    {
        area.Clear();
        standard[..Extended].CopyTo(area);
        area[Compaction..Extended].Clear();
        var present = BinaryPrimitives.ReadUInt64LittleEndian(standard[Present..]) & (xcr0 | 3);
        BinaryPrimitives.WriteUInt64LittleEndian(area[Present..], present);
        BinaryPrimitives.WriteUInt64LittleEndian(area[Compaction..], Compacted | xcr0 | 3);
        var next = Extended;
        for (var i = 2; i < s_components.Length; i++)
        {
            if ((xcr0 >> i & 1) == 0) continue;
            var (offset, size) = s_components[i];
            if ((present >> i & 1) != 0) standard.Slice(offset, size).CopyTo(area[next..]);
            next += size;
        }

        return next;
    }
}
