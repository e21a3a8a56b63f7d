// CRC-32 (ISO 3309) and CRC-64 (ECMA-182), both reflected, as the .xz file format 1.2.1 section 6 uses them.
using System.Collections.Immutable;

namespace Vmm.Guests.Compression;

/// <summary>The two checksums of .xz files.</summary>
internal static class Checksums
{
    private static readonly ImmutableArray<uint> Table32 = [.. Enumerable.Range(0, 256).Select(i => (uint)Entry((ulong)i, 0xEDB88320))];
    private static readonly ImmutableArray<ulong> Table64 = [.. Enumerable.Range(0, 256).Select(i => Entry((ulong)i, 0xC96C5795D7870F42))];

    /// <summary>CRC-32 of the bytes.</summary>
    public static uint Crc32(ReadOnlySpan<byte> bytes)
    {
        ReadOnlySpan<uint> table = Table32.AsSpan();
        uint crc = ~0u;
        foreach (byte b in bytes)
            crc = table[(byte)(crc ^ b)] ^ (crc >> 8);
        return ~crc;
    }

    /// <summary>CRC-64 of the bytes.</summary>
    public static ulong Crc64(ReadOnlySpan<byte> bytes)
    {
        ReadOnlySpan<ulong> table = Table64.AsSpan();
        ulong crc = ~0ul;
        foreach (byte b in bytes)
            crc = table[(byte)(crc ^ b)] ^ (crc >> 8);
        return ~crc;
    }

    private static ulong Entry(ulong value, ulong polynomial)
    {
        for (int bit = 0; bit < 8; bit++)
            value = (value >> 1) ^ ((value & 1) * polynomial);
        return value;
    }
}
