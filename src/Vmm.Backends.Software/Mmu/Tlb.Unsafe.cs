using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Backends.Software.Mmu;

/// <summary>
/// The software TLBs of one vCPU. A set has a read and a write array; there is a set for each privilege view (supervisor,
/// supervisor with AC set, user) and one that is never filled, for when every access must be looked at (alignment checks,
/// data breakpoints). An entry's presence is the permission.
/// </summary>
internal sealed unsafe class Tlb : IDisposable
{
    public const int Size = 1024;
    public const int Supervisor = 0, SupervisorAc = 1, User = 2, Checked = 3, Sets = 4;

    private const int JournalSize = 512;

    private TlbEntry* _entries;
    private readonly int[] _journal = new int[JournalSize];
    private int _journaled;

    public Tlb()
    {
        _entries = (TlbEntry*)NativeMemory.AlignedAlloc((nuint)(Sets * 2 * Size * sizeof(TlbEntry)), 64);
        FlushAll();
    }

    /// <summary>The read array of a set; the write array follows it.</summary>
    public TlbEntry* Reads(int set) => _entries + set * 2 * Size;

    /// <summary>Where an address is looked up: hashed, so that buffers at equal offsets do not collide.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static nuint Slot(ulong linear) => (nuint)((linear >> 12) ^ (linear >> 22)) & (Size - 1);

    /// <summary>Adds a translation to one array of a set.</summary>
    public void Fill(int set, bool write, ulong linear, nint host, bool global)
    {
        if (set == Checked) return;
        var index = set * 2 * Size + (write ? Size : 0) + (int)Slot(linear);
        var page = linear & ~0xFFFUL;
        // SAFETY: set is 0 to 2 and Slot is below Size.
        _entries[index] = new TlbEntry { Tag = page, Addend = (nint)((ulong)host - linear) };
        if (!global)
        {
            if (_journaled < JournalSize) _journal[_journaled] = index;
            _journaled++;
        }
    }

    /// <summary>Drops everything.</summary>
    public void FlushAll()
    {
        for (var i = 0; i < Sets * 2 * Size; i++) _entries[i].Tag = TlbEntry.Invalid;
        _journaled = 0;
    }

    /// <summary>Drops what is not global, at the cost of what was filled since the last time.</summary>
    public void FlushNonGlobal()
    {
        if (_journaled > JournalSize)
        {
            FlushAll();
            return;
        }

        for (var i = 0; i < _journaled; i++) _entries[_journal[i]].Tag = TlbEntry.Invalid;
        _journaled = 0;
    }

    /// <summary>Drops one linear page.</summary>
    public void FlushPage(ulong linear)
    {
        var page = linear & ~0xFFFUL;
        for (var array = 0; array < Sets * 2; array++)
        {
            var entry = _entries + array * Size + Slot(linear);
            if (entry->Tag == page) entry->Tag = TlbEntry.Invalid;
        }
    }

    /// <summary>Drops write entries that lead to one host page (its code was decoded, or it must be logged again); zero means all.</summary>
    public void FlushWrites(nint hostPage)
    {
        for (var set = 0; set < Checked; set++)
        {
            var entries = Reads(set) + Size;
            for (var i = 0; i < Size; i++)
            {
                if (hostPage == 0 || (nint)(entries[i].Tag + (ulong)entries[i].Addend) == hostPage) entries[i].Tag = TlbEntry.Invalid;
            }
        }
    }

    public void Dispose()
    {
        NativeMemory.AlignedFree(_entries);
        _entries = null;
    }
}
