using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Backends.Software.Decode;

/// <summary>
/// The decoded code of one vCPU: blocks by guest-physical address and mode, and a direct-mapped cache in front of them by
/// linear address. Blocks live in native memory until the cache is full and everything is dropped. A block whose bytes
/// changed is not freed but made stale: every instruction in it becomes one that leaves, so that even the block being
/// executed stops at its next instruction.
/// </summary>
internal sealed unsafe class BlockCache : IDisposable
{
    /// <summary>Entries of the cache by linear address.</summary>
    public const int JumpSize = 8192;

    private const int RecentSize = 8192;
    private const int ChunkSize = 1 << 20;
    private const int MaximumChunks = 64;

    private readonly Dictionary<ulong, nint> _blocks = [];
    private readonly Dictionary<ulong, nint> _pages = [];
    private readonly Dictionary<ulong, nint> _across = [];
    private readonly List<nint> _chunks = [];
    private readonly nint[] _recent = new nint[RecentSize];
    private readonly nint _stale;
    private int _used = ChunkSize;
    private JumpEntry* _jumps;

    private readonly Action _cleared;
    private bool _jumpsUsed = true;

    /// <param name="stale">The handler that leaves a stale block.</param>
    /// <param name="cleared">Called before all blocks go.</param>
    public BlockCache(nint stale, Action cleared)
    {
        (_stale, _cleared) = (stale, cleared);
        _jumps = (JumpEntry*)NativeMemory.AlignedAlloc(JumpSize * (nuint)sizeof(JumpEntry), 64);
        ClearJumps();
    }

    /// <summary>The cache by linear address; an entry holds if its key is the linear address shifted left by the mode's bits, with the mode.</summary>
    public JumpEntry* Jumps => _jumps;

    /// <summary>Where a key is looked up.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static nuint Slot(ulong key) => (nuint)((key >> 6) ^ (key >> 18)) & (JumpSize - 1);

    /// <summary>The first instruction of a block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ref Op First(Block* block) => ref Unsafe.AsRef<Op>(block + 1);

    /// <summary>Finds a block, or null.</summary>
    public Block* Find(ulong gpa, uint mode)
    {
        // In front of the dictionary, which every switch of address spaces would otherwise have asked for the whole working set.
        ref var recent = ref Recent(gpa);
        var block = (Block*)recent;
        if (block != null && block->Physical == gpa && block->Mode == mode) return block;
        if (!_blocks.TryGetValue(Key(gpa, mode), out var found)) return null;
        recent = found;
        return (Block*)found;
    }

    /// <summary>The first block that starts in a physical page, or null.</summary>
    public Block* FirstInPage(ulong gpa) => _pages.TryGetValue(gpa >> 12, out var first) ? (Block*)first : null;

    /// <summary>The first instruction that lies across the start of a physical page, or null.</summary>
    public Block* FirstAcross(ulong gpa) => _across.TryGetValue(gpa >> 12, out var first) ? (Block*)first : null;

    /// <summary>Keeps a block. Everything else may be dropped first, so no block may be in use.</summary>
    public Block* Add(ulong gpa, uint mode, int count, int bytes, ReadOnlySpan<Op> ops, ulong second = 0)
    {
        var size = sizeof(Block) + ops.Length * sizeof(Op);
        if (_used + size > ChunkSize)
        {
            if (_chunks.Count == MaximumChunks) Clear();
            _chunks.Add((nint)NativeMemory.AlignedAlloc(ChunkSize, 64));
            _used = 0;
        }

        // SAFETY: the chunk has room for the block, as was just checked; blocks have at most a few dozen instructions.
        var block = (Block*)(_chunks[^1] + _used);
        _used += (size + 15) & ~15;
        _pages.TryGetValue(gpa >> 12, out var next);
        *block = new Block { Physical = gpa, PageNext = (Block*)next, Mode = mode, Count = count, Bytes = bytes, Ops = ops.Length, Second = second, AcrossNext = second == 0 ? null : FirstAcross(second) };
        ops.CopyTo(new Span<Op>(block + 1, ops.Length));
        if (second != 0) _across[second >> 12] = (nint)block;
        _pages[gpa >> 12] = (nint)block;
        Recent(gpa) = _blocks[Key(gpa, mode)] = (nint)block;
        return block;
    }

    /// <summary>Makes all blocks with bytes in a physical page stale.</summary>
    public void DropPage(ulong gpa)
    {
        for (var block = FirstInPage(gpa); block != null; block = block->PageNext) Drop(block);
        for (var block = FirstAcross(gpa); block != null; block = block->AcrossNext) Drop(block);
        _pages.Remove(gpa >> 12);
        _across.Remove(gpa >> 12);
    }

    /// <summary>Forgets which linear addresses lead where.</summary>
    public void ClearJumps()
    {
        if (!_jumpsUsed) return;
        _jumpsUsed = false;
        for (var i = 0; i < JumpSize; i++) _jumps[i].Key = ulong.MaxValue;
    }

    /// <summary>Lets a linear address lead to a block.</summary>
    public void AddJump(ulong key, Block* block)
    {
        _jumpsUsed = true;
        _jumps[Slot(key)] = new JumpEntry { Key = key, Block = block };
    }

    /// <summary>Drops everything. No block may be in use.</summary>
    public void Clear()
    {
        _cleared();
        Array.Clear(_recent);
        _blocks.Clear();
        _pages.Clear();
        _across.Clear();
        foreach (var chunk in _chunks) NativeMemory.AlignedFree((void*)chunk);
        _chunks.Clear();
        _used = ChunkSize;
        ClearJumps();
    }

    public void Dispose()
    {
        Clear();
        NativeMemory.AlignedFree(_jumps);
        _jumps = null;
    }

    // A block of two pages is dropped with either, and another may be in its place when the other page goes.
    private void Drop(Block* block)
    {
        var key = Key(block->Physical, block->Mode);
        if (_blocks.TryGetValue(key, out var kept) && kept == (nint)block) _blocks.Remove(key);
        if (Recent(block->Physical) == (nint)block) Recent(block->Physical) = 0;
        foreach (ref var op in new Span<Op>(block + 1, block->Ops)) op.Handler = _stale;
    }

    private ref nint Recent(ulong gpa) => ref _recent[(gpa ^ gpa >> 13) & (RecentSize - 1)];

    private static ulong Key(ulong gpa, uint mode) => (gpa << Cpu.CpuMode.Bits) | mode;

    /// <summary>An entry of the cache by linear address.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct JumpEntry
    {
        public ulong Key;
        public Block* Block;
    }
}
