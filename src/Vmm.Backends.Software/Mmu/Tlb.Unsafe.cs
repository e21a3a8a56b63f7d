using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.Backends.Software.Cpu;

namespace Vmm.Backends.Software.Mmu;

/// <summary>
/// The software TLBs of one vCPU, in memory that lies at a fixed distance from its state so that translated code reaches them.
/// A set has a read and a write array; there is a set for each privilege view (supervisor, supervisor with AC set, user) and
/// one that is never filled, for when every access must be looked at (alignment checks, data breakpoints); and one for what the processor
/// itself reads (descriptor tables, TSS), which would else be at odds with the kernel's own data. An entry's presence
/// is the permission. Loads and stores of equally placed buffers do not collide, as each has its own array. Behind the arrays is one table
/// for all (<see cref="Lookaside"/>), of what other pages took the place of and of address spaces that the guest may come back to.
/// </summary>
internal sealed unsafe partial class Tlb
{
    public const int Size = 1024;
    public const int Supervisor = 0, SupervisorAc = 1, User = 2, Checked = 3, System = 4, Sets = 5;

    /// <summary>Bytes of one array: the tags, and the addends after them.</summary>
    public const int ArrayBytes = Size * 16;

    /// <summary>Bytes of all sets.</summary>
    public const int Bytes = Sets * 2 * ArrayBytes;

    /// <summary>Entries that are not global and are known one by one.</summary>
    public const int JournalSize = 512;

    /// <summary>Sets of the table behind the arrays.</summary>
    public const int LookasideSets = 4096;

    private const int FetchSize = 256;

    private const int WrittenSize = 4096;

    /// <summary>Bytes of the notes about written pages.</summary>
    public static readonly int WrittenBytes = WrittenSize * sizeof(WrittenEntry);

    private readonly byte* _memory;
    private readonly VcpuMemory _all;
    private readonly AddressSpaces _spaces;
    private readonly Lookaside _behind;
    private readonly Windows _windows;
    private readonly LargePageFilter _large = new();
    // Whether anything in the upper half was not global.
    private bool _hasOdd;
    private readonly WrittenEntry* _written;
    private ulong _writtenEpoch = 1;
    private readonly FetchEntry[] _fetches = new FetchEntry[FetchSize];
    // Arrays that may have entries, by this or by translated code, which takes them from behind.
    private readonly bool[] _filled = new bool[Sets * 2];
    // Arrays that are known not to match; the others are still zero, and another stands for them.
    private readonly bool[] _ready = new bool[Sets * 2];
    private static readonly TlbEntry* s_empty = MakeEmpty();
    private bool _hasFetches;

    /// <param name="memory">Memory that outlives this.</param>
    /// <param name="spaces">The address spaces.</param>
    /// <param name="windows">Closed with the entries of the same pages.</param>
    public Tlb(VcpuMemory memory, AddressSpaces spaces, Windows windows)
    {
        _memory = memory.Tlb;
        (_all, _spaces, _windows) = (memory, spaces, windows);
        _written = (WrittenEntry*)memory.WrittenPages;
        _behind = new Lookaside(memory.TlbLookaside, LookasideSets);
    }

    /// <summary>The read array of a set; after <see cref="Fill"/> it may be another one.</summary>
    public TlbEntry* Reads(int set) => _ready[set * 2] ? Entries(set * 2) : s_empty;

    /// <summary>The write array of a set; after <see cref="Fill"/> it may be another one.</summary>
    public TlbEntry* Writes(int set) => _ready[set * 2 + 1] ? Entries(set * 2 + 1) : s_empty;

    // SAFETY: array is below twice the number of sets, for which there is memory.
    private TlbEntry* Entries(int array) => (TlbEntry*)(_memory + array * ArrayBytes);

    /// <summary>Before translated code looks into all arrays.</summary>
    public void MakeReady()
    {
        for (var array = 0; array < Sets * 2; array++) MakeReady(array);
    }

    private void MakeReady(int array)
    {
        if (!_ready[array]) Empty(Entries(array), false);
        _ready[array] = true;
    }

    /// <summary>Makes all as it was when it was new, for another guest. False where the host cannot.</summary>
    public bool TryRecycle()
    {
        var used = _ready.AsSpan().Contains(true);
        // What is behind, and the notes about writes, are among the tables.
        if (used && !_all.TryClearTables()) return false;
        _behind.Forget();
        for (var array = 0; used && array < Sets * 2; array++)
        {
            // SAFETY: an array has so many bytes.
            if (_ready[array]) new Span<byte>(Entries(array), ArrayBytes).Clear();
            _ready[array] = _filled[array] = false;
        }

        FlushAll();
        _writtenEpoch = 1;
        return true;
    }

    /// <summary>Where an address is looked up.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static nuint Slot(ulong linear) => (nuint)(linear >> 12) & (Size - 1);

    /// <summary>Adds a translation to one array of a set.</summary>
    public void Fill(int set, bool write, ulong linear, nint host, bool global)
    {
        if (set == Checked) return;
        var addend = (ulong)host - linear;
        if (write) NoteWritten(linear, host);
        if (!global && (long)linear < 0) _hasOdd = true;
        Enter(set, write, linear, addend, global);
        // What is global in the lower half, or not in the upper, is seldom and has no place behind.
        if (global == (long)linear < 0) _behind.Fill(Key(set, write, linear), Tag(linear), addend);
    }

    /// <summary>Whether a translation that is not in its place was found behind it, and put there.</summary>
    public bool TryRefill(int set, bool write, ulong linear)
    {
        if (!_behind.TryFind(Key(set, write, linear), Tag(linear), out var addend) || (addend & MarkedBit) != 0) return false;
        Enter(set, write, linear, addend, (long)linear < 0);
        return true;
    }

    /// <summary>The physical address that code is fetched from with a privilege, if that was filled in before.</summary>
    public bool TryFetch(bool user, ulong linear, out ulong gpa, out bool global)
    {
        ref var entry = ref _fetches[FetchSlot(user, linear)];
        (gpa, global) = (entry.Page | (linear & 0xFFF), entry.Global);
        return entry.Key == FetchKey(user, linear) && (entry.Global || entry.Tag == _spaces.Current);
    }

    /// <summary>Adds a translation for fetches.</summary>
    public void FillFetch(bool user, ulong linear, ulong gpa, bool global)
    {
        _hasFetches = true;
        _fetches[FetchSlot(user, linear)] = new FetchEntry { Key = FetchKey(user, linear), Page = gpa & ~0xFFFUL, Global = global, Tag = _spaces.Current };
    }

    /// <summary>Drops everything.</summary>
    public void FlushAll()
    {
        _windows.CloseAll();
        _large.Clear();
        if (_hasFetches) Array.Clear(_fetches);
        _hasFetches = false;
        _behind.Clear();
        EmptyAll();
        Array.Clear(_filled);
        _writtenEpoch++;
        _hasOdd = false;
    }

    /// <summary>Before another address space, or a new one, becomes current: takes what is not global out of the arrays, at the cost of what was filled since the last time.</summary>
    public void FlushNonGlobal()
    {
        _windows.CloseNonGlobal(this);
        ref var journaled = ref _all.State->Translator.TlbJournaled;
        if (_large.IsFull) FlushAll();
        else if (journaled > JournalSize) EmptyAll();
        for (var i = 0; i < journaled; i++) Drop((TlbEntry*)(_all.Base + _all.TlbJournal[i]));
        journaled = 0;
    }

    /// <summary>Whether an address that was found here outlives a switch of address spaces. False if that is not certain.</summary>
    public bool IsGlobal(ulong linear) => (long)linear < 0 && !_hasOdd;

    /// <summary>A large page was walked: what is filled from it goes away together.</summary>
    /// <param name="linear">An address in it.</param>
    /// <param name="shift">The binary logarithm of its size.</param>
    public void NoteLarge(ulong linear, int shift) => _large.Add(linear, shift);

    /// <summary>Drops one linear page, with all of a large page that it may have been part of; the binary logarithm of what was dropped.</summary>
    public int FlushPage(ulong linear)
    {
        var shift = _large.ShiftAt(linear);
        _windows.ClosePage(this, linear, shift);
        if (shift > 12)
        {
            FlushRegion(linear, shift);
            return shift;
        }

        for (var array = 0; array < Sets * 2; array++)
        {
            if (!_filled[array]) continue;
            var entry = Entries(array) + Slot(linear);
            if (entry->Covers(linear & ~0xFFFUL, 0)) Drop(entry);
            _behind.Drop((linear & ~0xFFFUL) | (uint)array);
        }

        _fetches[FetchSlot(false, linear)].Key = _fetches[FetchSlot(true, linear)].Key = 0;
        return shift;
    }

    private void FlushRegion(ulong linear, int shift)
    {
        for (var array = 0; array < Sets * 2; array++)
        {
            if (!_filled[array]) continue;
            var entries = Entries(array);
            for (var i = 0; i < Size; i++)
            {
                if (((0 - entries[i].Negated) ^ linear) >> shift == 0) Drop(entries + i);
            }
        }

        _behind.DropRegion(linear, shift);
        foreach (ref var fetch in _fetches.AsSpan())
        {
            if ((fetch.Key ^ linear) >> shift == 0) fetch.Key = 0;
        }
    }

    /// <summary>Drops write entries that lead to one host page (its code was decoded, or it must be logged again); zero means all.</summary>
    public void FlushWrites(nint hostPage)
    {
        if (hostPage != 0)
        {
            ref var written = ref _written[WrittenSlot(hostPage)];
            if (written.Epoch == _writtenEpoch && written.Page == hostPage) DropWritten(ref written);
            else _windows.CloseWrites(this, hostPage, null);
            return;
        }

        ScanWrites(0);
        _writtenEpoch++;
    }

    // Looks at every write entry.
    private void ScanWrites(nint hostPage)
    {
        _windows.CloseAllWrites(this, hostPage);
        _behind.DropOdd(hostPage);
        for (var set = 0; set < Checked; set++)
        {
            if (!_filled[set * 2 + 1]) continue;
            var entries = Writes(set);
            if (hostPage == 0)
            {
                Empty(entries, true);
                continue;
            }

            for (var i = 0; i < Size; i++)
            {
                if (entries[i].Negated - (ulong)entries[i].Addend == 0 - (ulong)hostPage) Drop(entries + i);
            }
        }
    }

    // The array that an entry is of is in the low bits, writes in odd ones.
    private static ulong Key(int set, bool write, ulong linear) => (linear & ~0xFFFUL) | (uint)(set * 2 + (write ? 1 : 0));

    private uint Tag(ulong linear) => ((long)linear < 0 ? AddressSpaces.Global : _spaces.Current) << 2;

    private void Enter(int set, bool write, ulong linear, ulong addend, bool global)
    {
        // SAFETY: set is below Sets and Slot is below Size; the journal has room for JournalSize.
        var array = set * 2 + (write ? 1 : 0);
        if (!_filled[array]) MakeReady(array);
        var entry = Entries(array) + Slot(linear);
        _filled[array] = true;
        entry->Negated = 0 - (linear & ~0xFFFUL);
        entry->Addend = (nint)addend;
        if (global) return;
        ref var journaled = ref _all.State->Translator.TlbJournaled;
        if (journaled < JournalSize) _all.TlbJournal[journaled] = (uint)((byte*)entry - _all.Base);
        journaled++;
    }

    private void EmptyAll()
    {
        for (var array = 0; array < _filled.Length; array++)
        {
            if (_filled[array]) Empty(Entries(array), true);
        }

        _all.State->Translator.TlbJournaled = 0;
    }

    // Host pages that have write entries are noted with the pages that lead there, one in each half of the address space. A page that is
    // noted no more has none.
    private void NoteWritten(ulong linear, nint host)
    {
        var (page, from) = (host & ~(nint)0xFFF, linear & ~0xFFFUL | 1);
        ref var written = ref _written[WrittenSlot(page)];
        if (written.Epoch != _writtenEpoch || written.Page != page)
        {
            if (written.Epoch == _writtenEpoch) DropWritten(ref written);
            written = new WrittenEntry { Page = page, Epoch = _writtenEpoch };
        }

        ref var noted = ref (long)linear < 0 ? ref written.Upper : ref written.Lower;
        if (noted == 0) noted = from;
        else if (noted != from) written.HasMore = 1;
    }

    private void DropWritten(ref WrittenEntry written)
    {
        written.Epoch = 0;
        if (written.HasMore != 0)
        {
            ScanWrites(written.Page);
            return;
        }

        foreach (var noted in (ReadOnlySpan<ulong>)[written.Lower, written.Upper])
        {
            if (noted == 0) continue;
            var linear = noted - 1;
            for (var set = 0; set < Checked; set++)
            {
                if (_filled[set * 2 + 1]) Drop(Writes(set) + Slot(linear));
                _behind.Drop(Key(set, true, linear));
            }

            _windows.CloseWrites(this, written.Page, linear);
        }
    }

    private static int WrittenSlot(nint hostPage) => (int)(hostPage >> 12) & (WrittenSize - 1);

    private struct WrittenEntry
    {
        public nint Page;

        // With the lowest bit set; zero for none.
        public ulong Lower, Upper;
        public ulong Epoch, HasMore;
    }

    // Never zero, which is the key of an empty entry.
    private static ulong FetchKey(bool user, ulong linear) => (linear & ~0xFFFUL) | (user ? 3UL : 1);

    private static int FetchSlot(bool user, ulong linear) => (int)((linear >> 12) + (user ? FetchSize / 2u : 0)) & (FetchSize - 1);

    private struct FetchEntry
    {
        public ulong Key, Page;
        public uint Tag;
        public bool Global;
    }

    // An empty slot holds a page that is looked up neither there nor in the slot before (an access may reach into the next page): the first
    // page but for two slots.
    private static ulong Nothing(nuint slot) => slot is 0 or Size - 1 ? unchecked(0 - 0x5000UL) : 0;

    private static void Empty(TlbEntry* entries, bool used)
    {
        // SAFETY: entries is the start of an array of Size tags.
        if (used) new Span<ulong>(entries, Size).Clear();
        entries[0].Negated = entries[Size - 1].Negated = Nothing(0);
    }

    // Lives as long as the process. Nobody looks at addends of what does not match.
    private static TlbEntry* MakeEmpty()
    {
        var entries = (TlbEntry*)NativeMemory.AllocZeroed(ArrayBytes);
        Empty(entries, false);
        return entries;
    }

    private void Drop(TlbEntry* entry) => entry->Negated = Nothing((nuint)((byte*)entry - _memory) % ArrayBytes / 8);
}
