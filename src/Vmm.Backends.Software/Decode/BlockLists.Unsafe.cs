namespace Vmm.Backends.Software.Decode;

/// <summary>
/// Blocks by guest-physical address and mode, and by the page that they are in. One thread changes the lists; others may look for an address meanwhile,
/// as long as the memory of what is taken out stays.
/// </summary>
/// <param name="heads">Memory of <see cref="HeadBytes"/>, zero, that outlives this.</param>
// SAFETY: blocks are in the lists as long as their memory is theirs.
internal sealed unsafe class BlockLists(nint* heads)
{
    /// <summary>Bytes of the heads of lists by address.</summary>
    public const int HeadBytes = Heads * 8;

    private const int Heads = 32768;

    private readonly Dictionary<ulong, nint> _pages = [];
    private readonly Dictionary<ulong, nint> _across = [];
    private readonly List<nint> _taken = [];

    /// <summary>How many blocks there are.</summary>
    public int Count { get; private set; }

    /// <summary>Finds a block, or null. Any thread.</summary>
    public Block* Find(ulong gpa, uint mode)
    {
        var block = (Block*)Volatile.Read(ref Head(gpa));
        while (block != null && (block->Physical != gpa || block->Mode != mode)) block = block->Next;
        return block;
    }

    /// <summary>The first block that starts in a physical page, or null.</summary>
    public Block* FirstInPage(ulong gpa) => _pages.TryGetValue(gpa >> 12, out var first) ? (Block*)first : null;

    /// <summary>The first instruction that lies across the start of a physical page, or null.</summary>
    public Block* FirstAcross(ulong gpa) => _across.TryGetValue(gpa >> 12, out var first) ? (Block*)first : null;

    /// <summary>Adds a block that is complete.</summary>
    public void Add(Block* block)
    {
        block->PageNext = FirstInPage(block->Physical);
        _pages[block->Physical >> 12] = (nint)block;
        block->AcrossNext = null;
        if (block->Second != 0)
        {
            block->AcrossNext = FirstAcross(block->Second);
            _across[block->Second >> 12] = (nint)block;
        }

        block->Next = (Block*)Head(block->Physical);
        Volatile.Write(ref Head(block->Physical), (nint)block);
        Count++;
    }

    /// <summary>Takes a block out.</summary>
    public void Remove(Block* block)
    {
        RemoveFromPage(block);
        if (block->Second != 0) RemoveAcross(block);
        RemoveHead(block);
    }

    /// <summary>Takes out the blocks that were decoded from some granules of a physical page. The result holds until this is called again.</summary>
    public List<nint> Take(ulong gpa, ulong granules)
    {
        _taken.Clear();
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
            RemoveHead(block);
            _taken.Add((nint)block);
        }

        if ((granules & 1) == 0) return _taken;
        for (var block = FirstAcross(gpa); block != null; block = block->AcrossNext)
        {
            RemoveFromPage(block);
            RemoveHead(block);
            _taken.Add((nint)block);
        }

        _across.Remove(gpa >> 12);
        return _taken;
    }

    /// <summary>Takes out all.</summary>
    public void Clear()
    {
        if (Count < Heads / 16)
        {
            // Few: most of the memory was never touched.
            foreach (var first in _pages.Values)
            {
                for (var block = (Block*)first; block != null; block = block->PageNext) Head(block->Physical) = 0;
            }
        }
        else
        {
            new Span<nint>(heads, Heads).Clear();
        }

        Count = 0;
        _pages.Clear();
        _across.Clear();
    }

    private void RemoveFromPage(Block* block)
    {
        var first = FirstInPage(block->Physical);
        if (first == block)
        {
            SetFirst(_pages, block->Physical, block->PageNext);
            return;
        }

        while (first->PageNext != block) first = first->PageNext;
        first->PageNext = block->PageNext;
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

    private void RemoveHead(Block* block)
    {
        Count--;
        ref var head = ref Head(block->Physical);
        if (head == (nint)block)
        {
            head = (nint)block->Next;
            return;
        }

        var before = (Block*)head;
        while (before->Next != block) before = before->Next;
        before->Next = block->Next;
    }

    private static void SetFirst(Dictionary<ulong, nint> pages, ulong gpa, Block* first)
    {
        if (first != null) pages[gpa >> 12] = (nint)first;
        else pages.Remove(gpa >> 12);
    }

    private ref nint Head(ulong gpa) => ref heads[(gpa ^ gpa >> 13) & (Heads - 1)];
}
