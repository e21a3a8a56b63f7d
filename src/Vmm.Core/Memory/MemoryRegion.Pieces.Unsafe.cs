namespace Vmm.Core.Memory;

public sealed unsafe partial class MemoryRegion
{
    // Memory<byte> counts in int: a region is lent in pieces of this many bytes.
    private const int PieceShift = 30;

    private RegionMemory?[]? _pieces;

    /// <summary>The bytes from an offset on, as many as lie in one piece, at most a length.</summary>
    /// <param name="offset">Byte offset, inside the region.</param>
    /// <param name="length">The most bytes; not zero.</param>
    internal Memory<byte> Lend(ulong offset, uint length)
    {
        CheckRange(offset, 1);
        var index = (int)(offset >> PieceShift);
        var start = (ulong)index << PieceShift;
        var size = (int)Math.Min(Length - start, 1UL << PieceShift);
        var within = (int)(offset - start);
        return Piece(index, start, size).Memory.Slice(within, (int)Math.Min(length, (uint)(size - within)));
    }

    private RegionMemory Piece(int index, ulong start, int size)
    {
        // Two threads may both make one: either will do.
        var pieces = Volatile.Read(ref _pieces);
        if (pieces is null)
        {
            Interlocked.CompareExchange(ref _pieces, new RegionMemory?[(int)((Length - 1) >> PieceShift) + 1], null);
            pieces = _pieces;
        }

        // SAFETY: start and size were derived from Length by the caller.
        return pieces[index] ?? (pieces[index] = new RegionMemory(_host + start, size));
    }
}
