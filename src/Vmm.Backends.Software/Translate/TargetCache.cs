using System.Numerics;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// Where translated code finds the code of a branch target by its linear address, without leaving: direct-mapped, one cache for
/// each privilege view, at a fixed distance from the state. Keys are negated, so that an addition tells a hit without flags.
/// Entries of global pages outlive a switch of address spaces. Behind it is a table (<see cref="Lookaside"/>) of what others took the place
/// of, and of address spaces that the guest may come back to. While something waits for the processor, no look-up of an indirect branch
/// finds anything: that is how such branches look for events.
/// </summary>
internal sealed unsafe class TargetCache
{
    /// <summary>Entries of one view.</summary>
    public const int Size = 16384;

    /// <summary>Bytes of one view: entries of a key and the code's address.</summary>
    public const int Bytes = Size * 16;

    /// <summary>Supervisor, supervisor with AC set, user: the sets of <see cref="Mmu.Tlb"/>.</summary>
    public const int Views = 3;

    private const int User = Tlb.User;

    /// <summary>What is added to an address before its low bits are taken: functions start at multiples of 16, pages are alike.</summary>
    public const int HashRotation = 10;

    /// <summary>Entries that are not global and are known one by one.</summary>
    public const int JournalSize = 4096;

    /// <summary>Sets of the table behind it.</summary>
    public const int LookasideSets = 4096;

    // What makes of a hash the double of an index: of any slot, or of the first two.
    private const ulong Opened = (Size - 1) << 1, Closed = 1 << 1;

    private readonly VcpuMemory _memory;
    private readonly AddressSpaces _spaces;
    private readonly Lookaside _behind;

    // Views that may have entries, by this or by translated code, which takes them from behind.
    private readonly bool[] _used = new bool[Views];
    // Pages of the upper and of the lower half that may have targets here or behind: most INVLPGs are of pages that never held code, and a look at all
    // entries is dear.
    private readonly PageFilter _upper = new(), _lower = new();

    public TargetCache(VcpuMemory memory, AddressSpaces spaces)
    {
        (_memory, _spaces) = (memory, spaces);
        _behind = new Lookaside(memory.TargetLookaside, LookasideSets);
        // The memory comes as zeros, and most of it is never touched by a small guest.
        for (var view = 0; view < Views; view++) Clear(Entry(view, 0));
        *memory.TargetMask = Opened;
    }

    /// <summary>
    /// After an event was signalled, by any thread: look-ups by hash go to the first two slots alone, which are emptied, so that translated code
    /// comes back at its next indirect branch.
    /// </summary>
    public void Close()
    {
        Volatile.Write(ref *_memory.TargetMask, Closed);
        for (var view = 0; view < Views; view++)
        {
            Clear(Entry(view, 0));
            Clear(Entry(view, 1));
        }
    }

    /// <summary>Before code is run: undoes <see cref="Close"/>. If it returns true, events that were signalled before are seen only now.</summary>
    public bool Open()
    {
        if (*_memory.TargetMask == Opened) return false;
        *_memory.TargetMask = Opened;
        Interlocked.MemoryBarrier();
        return true;
    }

    /// <summary>The entry an address is looked up in.</summary>
    public static int Slot(ulong rip) => (int)((rip + BitOperations.RotateRight(rip, HashRotation)) & (Size - 1));

    /// <summary>Bytes from the base register to a key; its code address is 8 further.</summary>
    public static int KeyOffset(int view, int slot) => VcpuMemory.TargetsOffset + view * Bytes + slot * 16;

    /// <summary>The code of a target, or zero.</summary>
    public nint Find(int view, ulong rip)
    {
        var entry = Entry(view, Slot(rip));
        if (entry[0] + rip == 0) return (nint)entry[1];
        if (!_behind.TryFind(rip, Tag(view), out var code)) return 0;
        Enter(view, rip, (nint)code, view != User);
        return (nint)code;
    }

    public void Fill(int view, ulong rip, nint code, bool global)
    {
        Enter(view, rip, code, global);
        PagesOf(rip).Add(rip);
        // Others are seldom and have no place behind.
        if (global == (view != User) && global == (long)rip < 0) _behind.Fill(rip, Tag(view), (ulong)code);
    }

    /// <summary>Forgets one target.</summary>
    public void Drop(int view, ulong rip)
    {
        var entry = Entry(view, Slot(rip));
        if (entry[0] + rip == 0) Clear(entry);
        _behind.Drop(rip);
    }

    /// <summary>Forgets targets in one linear page, whose size is a power of two.</summary>
    public void DropPage(ulong linear, int shift)
    {
        if (shift == 12 && !PagesOf(linear).MayHave(linear)) return;
        _behind.DropRegion(linear, shift);
        for (var view = 0; view < Views; view++)
        {
            if (!_used[view]) continue;
            for (var slot = 0; slot < Size; slot++)
            {
                if (((0 - *Entry(view, slot)) ^ linear) >> shift == 0) Clear(Entry(view, slot));
            }
        }
    }

    public void FlushAll()
    {
        EmptyAll();
        Array.Clear(_used);
        _behind.Clear();
        _upper.Clear();
        _lower.Clear();
    }

    /// <summary>Before another address space, or a new one, becomes current.</summary>
    public void FlushNonGlobal()
    {
        ref var journaled = ref _memory.State->Translator.TargetsJournaled;
        if (_lower.IsFull)
        {
            // Nothing of the lower half is left then.
            _spaces.DropAll();
            _lower.Clear();
            EmptyAll();
        }

        if (journaled > JournalSize) EmptyAll();
        for (var i = 0; i < journaled; i++) Clear((ulong*)(_memory.Base + _memory.TargetJournal[i]));
        journaled = 0;
    }

    private PageFilter PagesOf(ulong linear) => (long)linear < 0 ? _upper : _lower;

    private uint Tag(int view) => ((view == User ? _spaces.Current : AddressSpaces.Global) << 2) + (uint)view;

    private void Enter(int view, ulong rip, nint code, bool global)
    {
        var entry = Entry(view, Slot(rip));
        (entry[0], entry[1]) = (0 - rip, (ulong)code);
        _used[view] = true;
        if (global) return;
        ref var journaled = ref _memory.State->Translator.TargetsJournaled;
        // SAFETY: the journal has room for JournalSize.
        if (journaled < JournalSize) _memory.TargetJournal[journaled] = (uint)((byte*)entry - _memory.Base);
        journaled++;
    }

    private void EmptyAll()
    {
        for (var view = 0; view < Views; view++)
        {
            if (_used[view]) Empty(view);
        }

        _memory.State->Translator.TargetsJournaled = 0;
    }

    // SAFETY: views are below Views and slots below Size, for which the memory has room.
    private ulong* Entry(int view, int slot) => (ulong*)_memory.Targets(view) + slot * 2;

    // An empty slot holds an address that is looked up elsewhere, by its hash's lowest bit alone too.
    private void Clear(ulong* entry) => Volatile.Write(ref *entry, (nuint)((byte*)entry - _memory.Base - VcpuMemory.TargetsOffset) % Bytes == 0 ? ulong.MaxValue : 0);

    private void Empty(int view)
    {
        new Span<byte>(_memory.Targets(view), Bytes).Clear();
        Clear(Entry(view, 0));
    }
}
