using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.Backends.Software.Translate;

namespace Vmm.Backends.Software.Decode;

/// <summary>
/// The decoded code of one vCPU: blocks by guest-physical address and mode, and a direct-mapped cache in front of them by
/// linear address. Blocks live in native memory until the cache is full and everything is dropped; beside a translator, which
/// keeps the warm ones, new 64-bit blocks live in a ring: most of a boot's run a few times and never again. What is kept has its
/// instructions there too, and but its guest code elsewhere. A block whose bytes
/// changed is not freed but made stale: every instruction in it becomes one that leaves, so that even the block being
/// executed stops at its next instruction.
/// </summary>
internal sealed unsafe partial class BlockCache : IDisposable
{
    /// <summary>Bytes of the cache by linear address.</summary>
    public const int JumpBytes = JumpSize * 16;

    /// <summary>Bytes of the heads of lists of blocks by physical address.</summary>
    public const int HeadBytes = Heads * 8;

    private const int JumpSize = 8192;
    private const int Heads = 32768;
    // Entries of the former that are known one by one.
    private const int JournalSize = 64;
    // What another guest may have after this one.
    private const int FewBlocks = 256;
    private const int ChunkSize = 256 << 10;
    private const int MaximumChunks = 256;

    // What was translated and then written to has to run for about as long as that took before it is translated again.
    private const int RewrittenSize = 1024, RewrittenHeat = -512;

    private readonly Dictionary<ulong, nint> _pages = [];
    private readonly Dictionary<ulong, nint> _across = [];
    private readonly List<nint> _chunks = [];
    private readonly nint* _heads;
    private readonly BlockBuilder _builder;
    // Where blocks were dropped that had translations.
    private ulong[]? _rewritten;
    private readonly nint _stale;
    private int _used = ChunkSize;
    private bool _full;
    private int _count;
    private readonly JumpEntry* _jumps;
    private readonly ushort[] _jumpsUsed = new ushort[JournalSize];
    private int _jumpsAdded;
    private Action? _cleared;

    /// <param name="memory">Memory that outlives this.</param>
    /// <param name="stale">The handler that leaves a stale block.</param>
    /// <param name="builder">Decodes again.</param>
    public BlockCache(Cpu.VcpuMemory memory, nint stale, BlockBuilder builder)
    {
        _builder = builder;
        _heads = memory.BlockHeads;
        _jumps = memory.Jumps;
        _ringMemory = memory.Ring;
        _stale = stale;
    }

    /// <summary>Whether code that is written to is translated again as soon as other code.</summary>
    public bool RetranslatesAtOnce { get; set; }

    /// <summary>Before the first block of a guest.</summary>
    /// <param name="cleared">Called before all blocks go.</param>
    /// <param name="translates">There is a translator: it calls <see cref="Keep"/>.</param>
    public void Begin(Action cleared, bool translates)
    {
        _cleared = cleared;
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
    public Block* Find(ulong gpa, uint mode)
    {
        var block = (Block*)Head(gpa);
        while (block != null && (block->Physical != gpa || block->Mode != mode)) block = block->Next;
        return block;
    }

    /// <summary>The first block that starts in a physical page, or null.</summary>
    public Block* FirstInPage(ulong gpa) => _pages.TryGetValue(gpa >> 12, out var first) ? (Block*)first : null;

    /// <summary>The first instruction that lies across the start of a physical page, or null.</summary>
    public Block* FirstAcross(ulong gpa) => _across.TryGetValue(gpa >> 12, out var first) ? (Block*)first : null;

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
        if (_full) Clear();
        var size = SizeOf(ops.Length, code.Length);
        var block = _ring != null && second == 0 && (mode & (Cpu.CpuMode.Step | Cpu.CpuMode.CodeMask)) == Cpu.CpuMode.Code64 ? TakeFromRing(size) : Take(size);
        if (block == null)
        {
            Clear();
            block = Take(size);
        }

        *block = new Block { Physical = gpa, Granules = granules, PageNext = FirstInPage(gpa), Next = (Block*)Head(gpa), Mode = (byte)mode, Count = (byte)count, Bytes = (ushort)bytes, Second = second, AcrossNext = second == 0 ? null : FirstAcross(second) };
        if (_rewritten is not null && Rewritten(gpa) == gpa) block->Heat = RewrittenHeat;
        Fill(block, block, ops);
        // SAFETY: there is room for the block, and so for its ops and its code behind the header.
        code.CopyTo(new Span<byte>(block->Code + ops.Length, code.Length));
        block->Tail = (byte)(code.Length - bytes);
        if (second != 0) _across[second >> 12] = (nint)block;
        _pages[gpa >> 12] = (nint)block;
        Head(gpa) = (nint)block;
        _count++;
        return block;
    }

    /// <summary>Makes the blocks stale that were decoded from some granules of a physical page, and drops their translations.</summary>
    public void Drop(ulong gpa, ulong granules, Translator? translator)
    {
        Block* before = null;
        for (Block* block = FirstInPage(gpa), next; block != null; block = next)
        {
            next = block->PageNext;
            if ((block->Granules & granules) == 0)
            {
                before = block;
                continue;
            }

            if (before != null) before->PageNext = next;
            else SetFirst(_pages, gpa, next);
            if (block->Second != 0) RemoveAcross(block);
            Drop(block, translator);
        }

        if ((granules & 1) == 0) return;
        for (var block = FirstAcross(gpa); block != null; block = block->AcrossNext)
        {
            Relink(block, block->PageNext);
            Drop(block, translator);
        }

        _across.Remove(gpa >> 12);
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
        _cleared?.Invoke();
        new Span<nint>(_heads, Heads).Clear();
        _count = 0;
        _pages.Clear();
        _across.Clear();
        foreach (var chunk in _chunks) NativeMemory.AlignedFree((void*)chunk);
        _chunks.Clear();
        _used = ChunkSize;
        _full = false;
        ResetRing();
        ClearJumps();
    }

    /// <summary>Makes all as it was when it was new, for another guest, if there was little.</summary>
    public bool TryRecycle()
    {
        if (_count > FewBlocks || _chunks.Count > 1 || _ringChunk != 0) return false;
        foreach (var (_, first) in _pages)
        {
            for (var block = (Block*)first; block != null; block = block->PageNext) Head(block->Physical) = 0;
        }

        _count = 0;
        _pages.Clear();
        _across.Clear();
        ClearJumps();
        // SAFETY: so much of them is in use.
        if (_chunks.Count != 0) new Span<byte>((void*)_chunks[0], _used).Clear();
        if (_ring != null) new Span<byte>(_ring, _ringEnds[0]).Clear();
        _used = _chunks.Count != 0 ? 0 : ChunkSize;
        _cleared = null;
        return true;
    }

    public void Dispose()
    {
        foreach (var chunk in _chunks) NativeMemory.AlignedFree((void*)chunk);
        _chunks.Clear();
    }

    private void Drop(Block* block, Translator? translator)
    {
        if (block->Translation != 0)
        {
            if (!RetranslatesAtOnce)
            {
                _rewritten ??= new ulong[RewrittenSize];
                Rewritten(block->Physical) = block->Physical;
            }

            translator?.Drop(block);
        }

        Replace(block, block->Next);
        _count--;
        block->IsStale = true;
        if (block->Code != null) MakeStale(block);
    }

    private void MakeStale(Block* block)
    {
        // SAFETY: the block has so many.
        foreach (ref var op in new Span<Op>(block->Code, block->Ops)) op.Handler = _stale;
    }

    private void RemoveAcross(Block* block)
    {
        var other = FirstAcross(block->Second);
        if (other == block)
        {
            SetFirst(_across, block->Second, block->AcrossNext);
            return;
        }

        while (other->AcrossNext != block) other = other->AcrossNext;
        other->AcrossNext = block->AcrossNext;
    }

    private static void SetFirst(Dictionary<ulong, nint> pages, ulong gpa, Block* first)
    {
        if (first != null) pages[gpa >> 12] = (nint)first;
        else pages.Remove(gpa >> 12);
    }

    private static int SizeOf(int ops, int code) => (sizeof(Block) + ops * sizeof(Op) + code + 7) & ~7;

    // Puts a block's instructions behind it, or behind one that is there for their sake alone.
    // SAFETY: there is room for them.
    private static void Fill(Block* block, Block* place, ReadOnlySpan<Op> ops)
    {
        block->Code = (Op*)(place + 1);
        block->Ops = place->Ops = (byte)ops.Length;
        ops.CopyTo(new Span<Op>(block->Code, ops.Length));
    }

    // Room that is kept; null if there is none.
    private Block* Take(int size)
    {
        if (_used + size > ChunkSize)
        {
            if (_chunks.Count == MaximumChunks) return null;
            _chunks.Add((nint)NativeMemory.AlignedAlloc(ChunkSize, 64));
            _used = 0;
        }

        // SAFETY: the chunk has room for the block, as was just checked; blocks have at most a few dozen instructions.
        var block = (Block*)(_chunks[^1] + _used);
        _used += size;
        return block;
    }

    // Puts another block, or what comes after it, in a block's place in the list of its page.
    private void Relink(Block* block, Block* other)
    {
        var first = FirstInPage(block->Physical);
        if (first == block)
        {
            SetFirst(_pages, block->Physical, other);
            return;
        }

        while (first->PageNext != block) first = first->PageNext;
        first->PageNext = other;
    }

    // The same in the list of its hash.
    private void Replace(Block* block, Block* other)
    {
        ref var head = ref Head(block->Physical);
        if (head == (nint)block)
        {
            head = (nint)other;
            return;
        }

        var before = (Block*)head;
        while (before->Next != block) before = before->Next;
        before->Next = other;
    }

    private ref ulong Rewritten(ulong gpa) => ref _rewritten![(gpa ^ gpa >> 10) & (RewrittenSize - 1)];

    private ref nint Head(ulong gpa) => ref _heads[(gpa ^ gpa >> 13) & (Heads - 1)];

    /// <summary>An entry of the cache by linear address.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct JumpEntry
    {
        public ulong Key;
        public Block* Block;
    }
}
