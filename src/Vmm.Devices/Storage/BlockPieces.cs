namespace Vmm.Devices.Storage;

/// <summary>Arithmetic on lists of pieces of memory.</summary>
internal static class BlockPieces
{
    public static long Length(IReadOnlyList<Memory<byte>> pieces)
    {
        long length = 0;
        for (var i = 0; i < pieces.Count; i++) length += pieces[i].Length;
        return length;
    }

    public static long Length(IReadOnlyList<ReadOnlyMemory<byte>> pieces)
    {
        long length = 0;
        for (var i = 0; i < pieces.Count; i++) length += pieces[i].Length;
        return length;
    }

    public static bool IsZero(ReadOnlySpan<byte> bytes) => bytes.IndexOfAnyExcept((byte)0) < 0;
}
