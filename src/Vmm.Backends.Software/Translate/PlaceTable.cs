using System.Numerics;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// Translations by linear address and view. A block can have very many, as libraries are at other addresses in each process, and those of processes
/// that are gone stay until their region is emptied. Most look-ups find nothing, and meet no translation: hashes are beside the numbers.
/// </summary>
internal sealed unsafe class PlaceTable(SiteTable sites)
{
    private const int FirstBits = 12, HashBits = 32;

    // A hash and below it a translation's number, in the place that the hash's upper bits say or behind that; zero for none. At most half are in use.
    private ulong[] _slots = new ulong[1 << FirstBits];
    private int _count;

    private int Mask => _slots.Length - 1;

    /// <summary>
    /// The translation of a block for a linear address and a view, the latest if there are several; null for none. Any thread: what is added or taken out
    /// meanwhile may be missed, or found.
    /// </summary>
    public Translation? Find(Block* block, ulong rip, int view)
    {
        var hash = Hash(rip, view);
        var slots = Volatile.Read(ref _slots);
        var mask = slots.Length - 1;
        for (var place = Home(slots, hash); Volatile.Read(ref slots[place]) is not 0 and var slot; place = place + 1 & mask)
        {
            if (slot >> HashBits != hash) continue;
            if (sites.TryTranslation((int)slot) is { } translation && translation.Rip == rip && translation.View == view && translation.Block == block) return translation;
        }

        return null;
    }

    /// <summary>Adds one that has a number.</summary>
    public void Add(Translation translation)
    {
        if (++_count * 2 > _slots.Length)
        {
            var (old, larger) = (_slots, new ulong[_slots.Length * 2]);
            // From the first place that has none before it, and each where there is room: what has one hash stays in its order.
            var start = Array.IndexOf(old, 0UL);
            for (var i = 0; i < old.Length; i++)
            {
                var slot = old[start + i & old.Length - 1];
                if (slot != 0) larger[Free(larger, slot >> HashBits)] = slot;
            }

            Volatile.Write(ref _slots, larger);
        }

        // The latest goes before others of its hash.
        var hash = Hash(translation.Rip, translation.View);
        var added = hash << HashBits | (uint)translation.Number;
        for (var place = Home(_slots, hash); _slots[place] != 0; place = place + 1 & Mask)
        {
            if (_slots[place] >> HashBits == hash) (added, _slots[place]) = (_slots[place], added);
        }

        _slots[Free(_slots, hash)] = added;
    }

    /// <summary>Takes out one that is here.</summary>
    public void Remove(Translation translation)
    {
        _count--;
        var hash = Hash(translation.Rip, translation.View);
        var hole = Home(_slots, hash);
        while (_slots[hole] != (hash << HashBits | (uint)translation.Number)) hole = hole + 1 & Mask;

        // What lies behind it, and would not be found with a hole before it, moves up.
        for (var place = hole + 1 & Mask; _slots[place] != 0; place = place + 1 & Mask)
        {
            if ((place - Home(_slots, _slots[place] >> HashBits) & Mask) < (place - hole & Mask)) continue;
            _slots[hole] = _slots[place];
            hole = place;
        }

        _slots[hole] = 0;
    }

    /// <summary>Takes out all.</summary>
    public void Clear()
    {
        Array.Clear(_slots);
        _count = 0;
    }

    private static ulong Hash(ulong rip, int view) => (rip + (ulong)view) * 0x9E37_79B9_7F4A_7C15 >> HashBits;

    private static int Home(ulong[] slots, ulong hash) => (int)(hash >> HashBits - BitOperations.Log2((uint)slots.Length));

    private static int Free(ulong[] slots, ulong hash)
    {
        var place = Home(slots, hash);
        while (slots[place] != 0) place = place + 1 & slots.Length - 1;
        return place;
    }
}
