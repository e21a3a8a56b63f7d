using System.Runtime.InteropServices;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// What is kept of the blocks that were translated, for all processors of a machine: headers and guest code, in native memory. What is dropped stays there, as
/// processors may have it in use, until all goes.
/// </summary>
// SAFETY: blocks lie in chunks, with room for their code behind them.
internal sealed unsafe class KeptBlocks : IDisposable
{
    private const int MaximumChunks = 256;

    // What was translated and then written to has to run for about as long as that took before it is translated again.
    private const int RewrittenSize = 1024, RewrittenHeat = -512;

    private readonly nint* _heads;
    private readonly BlockLists _lists;
    private readonly List<nint> _chunks = [];
    private readonly bool _atOnce;
    // Where blocks were dropped.
    private ulong[]? _rewritten;
    private int _used = BlockCache.ChunkSize;

    /// <summary>Whether there was no more room for a block.</summary>
    public bool IsFull { get; private set; }

    /// <param name="atOnce">Code that is written to is translated again as soon as other code.</param>
    public KeptBlocks(bool atOnce)
    {
        _atOnce = atOnce;
        _heads = (nint*)NativeMemory.AllocZeroed(BlockLists.HeadBytes);
        _lists = new BlockLists(_heads);
    }

    /// <summary>Finds a block, or null. Any thread.</summary>
    public Block* Find(ulong gpa, uint mode) => _lists.Find(gpa, mode);

    /// <summary>Keeps a block. Null if there is no more room.</summary>
    public Block* Add(Block* block)
    {
        var code = Block.CodeOf(block);
        var size = (sizeof(Block) + code.Length + 7) & ~7;
        if (_used + size > BlockCache.ChunkSize)
        {
            IsFull = _chunks.Count == MaximumChunks;
            if (IsFull) return null;
            _chunks.Add((nint)NativeMemory.AlignedAlloc(BlockCache.ChunkSize, 64));
            _used = 0;
        }

        var kept = (Block*)(_chunks[^1] + _used);
        _used += size;
        *kept = *block;
        kept->Code = null;
        kept->Ops = 0;
        code.CopyTo(new Span<byte>(kept + 1, code.Length));
        _lists.Add(kept);
        return kept;
    }

    /// <summary>Takes out the blocks that were made of some granules of a physical page, which are stale from now on. The result holds until this is called again.</summary>
    public List<nint> Drop(ulong gpa, ulong granules)
    {
        var dropped = _lists.Take(gpa, granules);
        foreach (var dead in dropped)
        {
            var block = (Block*)dead;
            block->IsStale = true;
            if (block->Translation == 0 || _atOnce) continue;
            _rewritten ??= new ulong[RewrittenSize];
            Rewritten(block->Physical) = block->Physical;
        }

        return dropped;
    }

    /// <summary>What the heat of a new block begins with.</summary>
    public int FirstHeat(ulong gpa) => _rewritten is not null && Rewritten(gpa) == gpa ? RewrittenHeat : 0;

    /// <summary>Takes out all blocks, whose memory stays.</summary>
    public void TakeAll() => _lists.Clear();

    /// <summary>Frees the memory of all blocks; none may be in use any more.</summary>
    public void Clear()
    {
        foreach (var chunk in _chunks) NativeMemory.AlignedFree((void*)chunk);
        _chunks.Clear();
        (_used, IsFull) = (BlockCache.ChunkSize, false);
    }

    public void Dispose()
    {
        Clear();
        NativeMemory.Free(_heads);
    }

    private ref ulong Rewritten(ulong gpa) => ref _rewritten![(gpa ^ gpa >> 10) & (RewrittenSize - 1)];
}
