namespace Vmm.Backends.Software.Decode;

/// <summary>
/// The ring: 64-bit blocks, whose oldest make way. Of what was translated only the guest code is kept, a tenth of its instructions' size: the
/// interpreter seldom has anything to do in it, and decodes it again.
/// </summary>
internal sealed unsafe partial class BlockCache
{
    /// <summary>Bytes of the ring.</summary>
    public const int RingBytes = RingChunks * ChunkSize;

    private const int RingChunks = 16;

    // What is translated as one, decoded again, needs less.
    private const int RoomForAll = 32 << 10;

    private readonly byte* _ringMemory;
    private byte* _ring;
    // Where the blocks of each chunk of the ring end.
    private readonly int[] _ringEnds = new int[RingChunks];
    private int _ringChunk;

    /// <summary>
    /// A block with its instructions: itself, or that of which it is what is kept. Others may be dropped first, so none may be in use, but for those that there was
    /// <see cref="MakeRoom"/> for.
    /// </summary>
    public Block* Unfold(Block* block)
    {
        if (block->Code != null) return block;
        var code = Block.CodeOf(block);
        var known = Find(block->Physical, block->Mode);
        if (known != null && !block->IsStale && known->Second == block->Second && Block.CodeOf(known).SequenceEqual(code)) return known;
        // The same bytes in the same mode make the same instructions.
        var unfolded = Place(block->Physical, block->Mode, block->Bytes, code, _builder.Build(code, block->Mode, block->Second != 0), block->Second);
        (unfolded->Granules, unfolded->Count) = (block->Granules, block->Count);
        unfolded->Kept = block;
        // Whoever writes to the code makes what is kept stale first, and then asks for this to be dropped. If there is another, one of the two is about to be.
        if (known == null && !block->IsStale) _lists.Add(unfolded);
        else unfolded->IsStale = true;
        if (block->IsStale) MakeStale(unfolded);
        return unfolded;
    }

    /// <summary>Before blocks are translated: those that are decoded again meanwhile do not take the place of others.</summary>
    public void MakeRoom()
    {
        if (_ringEnds[_ringChunk] + RoomForAll > (_ringChunk + 1) * ChunkSize) NextRingChunk();
    }

    private void ResetRing()
    {
        _ringChunk = 0;
        for (var i = 0; i < RingChunks; i++) _ringEnds[i] = i * ChunkSize;
    }

    // Room in the ring, whose oldest blocks make way.
    private Block* TakeFromRing(int size)
    {
        if (_ringEnds[_ringChunk] + size > (_ringChunk + 1) * ChunkSize) NextRingChunk();
        // SAFETY: the chunk has room for the block, as was just checked.
        var block = (Block*)(_ring + _ringEnds[_ringChunk]);
        _ringEnds[_ringChunk] += size;
        return block;
    }

    private void NextRingChunk()
    {
        _ringChunk = (_ringChunk + 1) % RingChunks;
        var end = _ringEnds[_ringChunk];
        var at = _ringEnds[_ringChunk] = _ringChunk * ChunkSize;
        while (at < end)
        {
            // SAFETY: a chunk holds one block behind the other, up to its end.
            var block = (Block*)(_ring + at);
            at += SizeOf(block->Ops, block->Bytes + block->Tail);
            // Stale ones are nowhere else any more.
            if (!block->IsStale) _lists.Remove(block);
        }

        ClearJumps();
    }
}
