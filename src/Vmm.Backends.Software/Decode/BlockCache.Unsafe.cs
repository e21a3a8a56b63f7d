using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Backends.Software.Decode;

/// <summary>
/// The decoded code of one vCPU: blocks by guest-physical address and mode, and a direct-mapped cache in front of them by
/// linear address. Blocks live in native memory until the cache is full and everything is dropped; beside a translator, which
/// keeps the bytes of warm ones, 64-bit blocks live in a ring: most of a boot's run a few times and never again. A block whose bytes
/// changed is not freed but made stale: every instruction in it becomes one that leaves, so that even the block being
/// executed stops at its next instruction.
/// </summary>
internal sealed unsafe partial class BlockCache : IDisposable
{
    /// <summary>Bytes of the cache by linear address.</summary>
    public const int JumpBytes = JumpSize * 16;

    private const int JumpSize = 8192;
    // Entries of the former that are known one by one.
    private const int JournalSize = 64;
    // What another guest may have after this one.
    private const int FewBlocks = 256;
    private const int MaximumChunks = 256;

    /// <summary>Bytes that are taken from the operating system at a time.</summary>
    public const int ChunkSize = 256 << 10;

    private readonly BlockLists _lists;
    private readonly List<nint> _chunks = [];
    private readonly BlockBuilder _builder;
    private readonly nint _stale;
    private int _used = ChunkSize;
    private readonly JumpEntry* _jumps;
    private readonly ushort[] _jumpsUsed = new ushort[JournalSize];
    private int _jumpsAdded;

    /// <param name="memory">Memory that outlives this.</param>
    /// <param name="stale">The handler that leaves a stale block.</param>
    /// <param name="builder">Decodes again.</param>
    public BlockCache(Cpu.VcpuMemory memory, nint stale, BlockBuilder builder)
    {
        _builder = builder;
        _lists = new BlockLists(memory.BlockHeads);
        _jumps = memory.Jumps;
        _ringMemory = memory.Ring;
        _stale = stale;
    }

    /// <summary>Before the first block of a guest.</summary>
    /// <param name="translates">There is a translator.</param>
    public void Begin(bool translates)
    {
        _ring = translates ? _ringMemory : null;
        ResetRing();
    }

    /// <summary>The cache by linear address; an entry holds if its key is the linear address shifted left by the mode's bits, with the mode.</summary>
    public JumpEntry* Jumps => _jumps;

    /// <summary>Where a key is looked up.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static nuint Slot(ulong key) => (nuint)((key >> 6) ^ (key >> 18)) & (JumpSize - 1);

    /// <summary>The first instruction of a block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ref Op First(Block* block) => ref Unsafe.AsRef<Op>(block->Code);

    /// <summary>Finds a block, or null.</summary>
    public Block* Find(ulong gpa, uint mode) => _lists.Find(gpa, mode);

    /// <summary>The first block that starts in a physical page, or null.</summary>
    public Block* FirstInPage(ulong gpa) => _lists.FirstInPage(gpa);

    /// <summary>Adds a block. Others may be dropped first, so no block may be in use.</summary>
    /// <param name="gpa">Where it is.</param>
    /// <param name="granules">What it was decoded from.</param>
    /// <param name="mode">What it was decoded for.</param>
    /// <param name="count">Its instructions.</param>
    /// <param name="bytes">Their bytes.</param>
    /// <param name="code">These, and those behind them that are no instruction.</param>
    /// <param name="ops">All it consists of.</param>
    /// <param name="second">The page that it goes on in.</param>
    public Block* Add(ulong gpa, ulong granules, uint mode, int count, int bytes, ReadOnlySpan<byte> code, ReadOnlySpan<Op> ops, ulong second = 0)
    {
        var block = Place(gpa, mode, bytes, code, ops, second);
        (block->Granules, block->Count) = (granules, (byte)count);
        _lists.Add(block);
        return block;
    }

    /// <summary>Makes the blocks stale that were decoded from some granules of a physical page.</summary>
    public void Drop(ulong gpa, ulong granules)
    {
        foreach (var block in _lists.Take(gpa, granules)) MakeStale((Block*)block);
    }

    /// <summary>Forgets which linear addresses lead where.</summary>
    public void ClearJumps()
    {
        // SAFETY: what is listed are slots of the table.
        if (_jumpsAdded > JournalSize) new Span<JumpEntry>(_jumps, JumpSize).Clear();
        else foreach (var slot in _jumpsUsed.AsSpan(0, _jumpsAdded)) _jumps[slot] = default;
        _jumpsAdded = 0;
    }

    /// <summary>Lets a linear address lead to a block, which has its instructions behind it.</summary>
    public void AddJump(ulong key, Block* block)
    {
        if (_jumpsAdded < JournalSize) _jumpsUsed[_jumpsAdded] = (ushort)Slot(key);
        if (_jumpsAdded <= JournalSize) _jumpsAdded++;
        _jumps[Slot(key)] = new JumpEntry { Key = key, Block = block };
    }

    /// <summary>Drops everything. No block may be in use.</summary>
    public void Clear()
    {
        _lists.Clear();
        FreeChunks();
        ResetRing();
        ClearJumps();
    }

    /// <summary>Makes all as it was when it was new, for another guest, if there was little.</summary>
    public bool TryRecycle()
    {
        if (_lists.Count > FewBlocks || _chunks.Count > 1 || _ringChunk != 0) return false;
        _lists.Clear();
        ClearJumps();
        // SAFETY: so much of them is in use.
        if (_chunks.Count != 0) new Span<byte>((void*)_chunks[0], _used).Clear();
        if (_ring != null) new Span<byte>(_ring, _ringEnds[0]).Clear();
        _used = _chunks.Count != 0 ? 0 : ChunkSize;
        return true;
    }

    public void Dispose() => FreeChunks();

    private void FreeChunks()
    {
        foreach (var chunk in _chunks) NativeMemory.AlignedFree((void*)chunk);
        _chunks.Clear();
        _used = ChunkSize;
    }

    private void MakeStale(Block* block)
    {
        block->IsStale = true;
        // SAFETY: the block has so many.
        foreach (ref var op in new Span<Op>(block->Code, block->Ops)) op.Handler = _stale;
    }

    private static int SizeOf(int ops, int code) => (sizeof(Block) + ops * sizeof(Op) + code + 7) & ~7;

    // A block that is in no list yet.
    private Block* Place(ulong gpa, uint mode, int bytes, ReadOnlySpan<byte> code, ReadOnlySpan<Op> ops, ulong second)
    {
        var size = SizeOf(ops.Length, code.Length);
        var block = _ring != null && second == 0 && (mode & (Cpu.CpuMode.Step | Cpu.CpuMode.CodeMask)) == Cpu.CpuMode.Code64 ? TakeFromRing(size) : Take(size);
        *block = new Block { Physical = gpa, Second = second, Mode = (byte)mode, Bytes = (ushort)bytes, Tail = (byte)(code.Length - bytes), Ops = (byte)ops.Length, Code = (Op*)(block + 1) };
        // SAFETY: there is room for the block, and so for its ops and its code behind the header.
        ops.CopyTo(new Span<Op>(block->Code, ops.Length));
        code.CopyTo(new Span<byte>(block->Code + ops.Length, code.Length));
        return block;
    }

    private Block* Take(int size)
    {
        if (_used + size > ChunkSize)
        {
            if (_chunks.Count == MaximumChunks) Clear();
            _chunks.Add((nint)NativeMemory.AlignedAlloc(ChunkSize, 64));
            _used = 0;
        }

        // SAFETY: the chunk has room for the block, as was just checked; blocks have at most a few dozen instructions.
        var block = (Block*)(_chunks[^1] + _used);
        _used += size;
        return block;
    }

    /// <summary>An entry of the cache by linear address.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct JumpEntry
    {
        public ulong Key;
        public Block* Block;
    }
}
