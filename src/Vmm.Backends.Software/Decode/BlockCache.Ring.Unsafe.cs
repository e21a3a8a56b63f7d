namespace Vmm.Backends.Software.Decode;

/// <summary>
/// The ring: new blocks, whose oldest make way, and what is decoded again of those that are kept. These have only their guest code elsewhere, a tenth of
/// their instructions' size: once a block is translated the interpreter seldom has anything to do in it.
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

    /// <summary>Moves a block out of the ring, if it is there. It may not be in use. Null if there is no room until the next one is added.</summary>
    public Block* Keep(Block* block)
    {
        if ((byte*)block < _ring || (byte*)block >= _ring + RingBytes) return block;
        var code = block->Bytes + block->Tail;
        var kept = Take(SizeOf(0, code));
        _full = kept == null;
        if (kept == null) return null;
        *kept = *block;
        // SAFETY: a block in the ring has its guest code behind its ops, and the other has room for it.
        Buffer.MemoryCopy(block->Code + block->Ops, kept + 1, code, code);
        Relink(block, kept);
        Replace(block, kept);
        block->Owner = kept;
        return kept;
    }

    /// <summary>Sees to it that a block has its instructions. Those of others may go, so none may be in use, but for those that there was <see cref="MakeRoom"/> for.</summary>
    public Block* Unfold(Block* block)
    {
        if (block->Code != null) return block;
        // SAFETY: what has no ops has its guest code behind it. The same bytes in the same mode make the same instructions.
        var ops = _builder.Build(new ReadOnlySpan<byte>(block + 1, block->Bytes + block->Tail), block->Mode, false);
        var place = TakeFromRing(SizeOf(ops.Length, 0));
        *place = new Block { Owner = block };
        Fill(block, place, ops);
        if (block->IsStale) MakeStale(block);
        return block;
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
            if (block->Owner != null)
            {
                if (block->Owner->Code == (Op*)(block + 1)) block->Owner->Code = null;
                continue;
            }

            // Stale ones are nowhere else any more.
            if (block->IsStale) continue;
            Replace(block, block->Next);
            Relink(block, block->PageNext);
            _count--;
        }

        ClearJumps();
    }
}
