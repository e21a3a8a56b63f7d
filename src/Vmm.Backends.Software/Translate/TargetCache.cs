using Vmm.Backends.Software.Cpu;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// Where translated code finds the code of a branch target by its linear address, without leaving: direct-mapped, one cache for
/// each privilege view, at a fixed distance from the state. Keys are negated, so that an addition tells a hit without flags.
/// Entries of global pages outlive a switch of address spaces.
/// </summary>
internal sealed unsafe class TargetCache
{
    /// <summary>Entries of one view.</summary>
    public const int Size = 4096;

    /// <summary>Bytes of one view: keys, and code addresses behind them.</summary>
    public const int Bytes = Size * 16;

    /// <summary>Supervisor, supervisor with AC set, user: the sets of <see cref="Mmu.Tlb"/>.</summary>
    public const int Views = 3;

    private const int JournalSize = 1024;

    private readonly VcpuMemory _memory;
    private readonly ushort[] _journal = new ushort[JournalSize];
    private readonly bool[] _used = new bool[Views];
    private ulong _pages;
    private int _journaled;

    public TargetCache(VcpuMemory memory)
    {
        _memory = memory;
        for (var view = 0; view < Views; view++) Empty(view);
    }

    /// <summary>The entry an address is looked up in: its low bits.</summary>
    public static int Slot(ulong rip) => (int)(rip & (Size - 1));

    /// <summary>Bytes from the base register to a key; its code address is <c>8 * Size</c> further.</summary>
    public static int KeyOffset(int view, int slot) => VcpuMemory.TargetsOffset + view * Bytes + slot * 8;

    /// <summary>The code of a target, or zero.</summary>
    public nint Find(int view, ulong rip)
    {
        // SAFETY: Slot is below Size, and the memory has Size keys and Size addresses for each view.
        var key = (ulong*)_memory.Targets(view) + Slot(rip);
        return *key + rip == 0 ? (nint)key[Size] : 0;
    }

    public void Fill(int view, ulong rip, nint code, bool global)
    {
        var key = (ulong*)_memory.Targets(view) + Slot(rip);
        *key = 0 - rip;
        key[Size] = (ulong)code;
        _used[view] = true;
        _pages |= PageBit(rip);
        if (global) return;
        if (_journaled < JournalSize) _journal[_journaled] = (ushort)(view << 12 | Slot(rip));
        _journaled++;
    }

    /// <summary>Forgets one target.</summary>
    public void Drop(int view, ulong rip)
    {
        if (Find(view, rip) != 0) Clear(view, Slot(rip));
    }

    /// <summary>Forgets targets in one linear page.</summary>
    public void DropPage(ulong linear)
    {
        if ((_pages & PageBit(linear)) == 0) return;
        for (var view = 0; view < Views; view++)
        {
            if (!_used[view]) continue;
            var keys = (ulong*)_memory.Targets(view);
            for (var slot = 0; slot < Size; slot++)
            {
                if (((0 - keys[slot]) ^ linear) >> 12 == 0) Clear(view, slot);
            }
        }
    }

    public void FlushAll()
    {
        for (var view = 0; view < Views; view++)
        {
            if (_used[view]) Empty(view);
        }

        _journaled = 0;
        _pages = 0;
    }

    public void FlushNonGlobal()
    {
        if (_journaled > JournalSize)
        {
            FlushAll();
            return;
        }

        for (var i = 0; i < _journaled; i++) Clear(_journal[i] >> 12, _journal[i] & (Size - 1));
        _journaled = 0;
    }

    private static ulong PageBit(ulong linear) => 1UL << (int)(linear >> 12 & 63);

    // An empty slot holds an address that is looked up elsewhere.
    private void Clear(int view, int slot) => ((ulong*)_memory.Targets(view))[slot] = slot == 0 ? ulong.MaxValue : 0;

    private void Empty(int view)
    {
        var keys = (ulong*)_memory.Targets(view);
        new Span<ulong>(keys, Size).Clear();
        keys[0] = ulong.MaxValue;
        _used[view] = false;
    }
}
