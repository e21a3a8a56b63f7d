using System.Numerics;
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
    public const int Size = 16384;

    /// <summary>Bytes of one view: entries of a key and the code's address.</summary>
    public const int Bytes = Size * 16;

    /// <summary>Supervisor, supervisor with AC set, user: the sets of <see cref="Mmu.Tlb"/>.</summary>
    public const int Views = 3;

    /// <summary>What is added to an address before its low bits are taken: functions start at multiples of 16, pages are alike.</summary>
    public const int HashRotation = 10;

    private const int JournalSize = 4096;

    private readonly VcpuMemory _memory;
    private readonly ushort[] _journal = new ushort[JournalSize];
    private readonly bool[] _used = new bool[Views];
    private readonly PageFilter _globalPages = new(1024), _otherPages = new(128);
    private int _journaled;

    public TargetCache(VcpuMemory memory)
    {
        _memory = memory;
        for (var view = 0; view < Views; view++) Empty(view);
    }

    /// <summary>The entry an address is looked up in.</summary>
    public static int Slot(ulong rip) => (int)((rip + BitOperations.RotateRight(rip, HashRotation)) & (Size - 1));

    /// <summary>Bytes from the base register to a key; its code address is 8 further.</summary>
    public static int KeyOffset(int view, int slot) => VcpuMemory.TargetsOffset + view * Bytes + slot * 16;

    /// <summary>The code of a target, or zero.</summary>
    public nint Find(int view, ulong rip)
    {
        var entry = Entry(view, Slot(rip));
        return entry[0] + rip == 0 ? (nint)entry[1] : 0;
    }

    public void Fill(int view, ulong rip, nint code, bool global)
    {
        var entry = Entry(view, Slot(rip));
        (entry[0], entry[1]) = (0 - rip, (ulong)code);
        _used[view] = true;
        (global ? _globalPages : _otherPages).Add(rip);
        if (global) return;
        if (_journaled < JournalSize) _journal[_journaled] = (ushort)(view * Size + Slot(rip));
        _journaled++;
    }

    /// <summary>Forgets one target.</summary>
    public void Drop(int view, ulong rip)
    {
        if (Find(view, rip) != 0) Clear(view, Slot(rip));
    }

    /// <summary>Forgets targets in one linear page, whose size is a power of two.</summary>
    public void DropPage(ulong linear, int shift)
    {
        if (shift == 12 && !_globalPages.MayHave(linear) && !_otherPages.MayHave(linear)) return;
        for (var view = 0; view < Views; view++)
        {
            if (!_used[view]) continue;
            for (var slot = 0; slot < Size; slot++)
            {
                if (((0 - *Entry(view, slot)) ^ linear) >> shift == 0) Clear(view, slot);
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
        _globalPages.Clear();
        _otherPages.Clear();
    }

    public void FlushNonGlobal()
    {
        if (_journaled > JournalSize)
        {
            FlushAll();
            return;
        }

        for (var i = 0; i < _journaled; i++) Clear(_journal[i] / Size, _journal[i] % Size);
        if (_journaled != 0) _otherPages.Clear();
        _journaled = 0;
    }

    // SAFETY: views are below Views and slots below Size, for which the memory has room.
    private ulong* Entry(int view, int slot) => (ulong*)_memory.Targets(view) + slot * 2;

    // An empty slot holds an address that is looked up elsewhere.
    private void Clear(int view, int slot) => *Entry(view, slot) = slot == 0 ? ulong.MaxValue : 0;

    private void Empty(int view)
    {
        new Span<byte>(_memory.Targets(view), Bytes).Clear();
        Clear(view, 0);
        _used[view] = false;
    }

    /// <summary>Pages that may have targets: most INVLPGs are of pages that never held code, and a look at all entries is dear.</summary>
    /// <param name="words">Words of bits, a power of two. Each page sets two bits.</param>
    private sealed class PageFilter(int words)
    {
        private readonly ulong[] _bits = new ulong[words];

        public void Add(ulong linear)
        {
            var hash = Hash(linear);
            Word(hash >> 24) |= 1UL << (int)(hash >> 24 & 63);
            Word(hash >> 44) |= 1UL << (int)(hash >> 44 & 63);
        }

        public bool MayHave(ulong linear)
        {
            var hash = Hash(linear);
            return (Word(hash >> 24) >> (int)(hash >> 24 & 63) & Word(hash >> 44) >> (int)(hash >> 44 & 63) & 1) != 0;
        }

        public void Clear() => Array.Clear(_bits);

        private static ulong Hash(ulong linear) => (linear >> 12) * 0x9E37_79B9_7F4A_7C15;

        private ref ulong Word(ulong hash) => ref _bits[(int)(hash >> 6) & (_bits.Length - 1)];
    }
}
