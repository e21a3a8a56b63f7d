using System.Numerics;

namespace Vmm.Backends.Software.Mmu;

/// <summary>
/// A table behind a direct-mapped one, in memory that translated code looks into by itself: sets of three ways by a hash of the key. It
/// keeps what lost its place in the other to an address alike, and what belongs to address spaces that are not current. A set has three
/// keys, their values, their tags (zero for an empty way), and the way that was filled last.
/// </summary>
/// <param name="memory">Zeroed memory that outlives this: 64 bytes for each set.</param>
/// <param name="sets">A power of two.</param>
internal sealed unsafe class Lookaside(byte* memory, int sets)
{
    public const int SetBytes = 64, Ways = 3, Values = 24, Tags = 48;

    private bool _used;

    /// <summary>The value of a key and tag.</summary>
    public bool TryFind(ulong key, uint tag, out ulong value)
    {
        // SAFETY: the hash is below the number of sets, for which there is memory, and ways are below three.
        var set = (ulong*)(memory + Hash(key));
        var tags = (uint*)((byte*)set + Tags);
        for (var way = 0; way < Ways; way++)
        {
            if (set[way] != key || tags[way] != tag) continue;
            value = set[Ways + way];
            return true;
        }

        value = 0;
        return false;
    }

    /// <summary>Adds a value, in the place of one with the same key and tag if there is one.</summary>
    public void Fill(ulong key, uint tag, ulong value)
    {
        _used = true;
        var set = (ulong*)(memory + Hash(key));
        var tags = (uint*)((byte*)set + Tags);
        var way = 0;
        while (way < Ways && (set[way] != key || tags[way] != tag)) way++;
        if (way == Ways) way = (int)(tags[Ways] = (tags[Ways] + 1) % Ways);
        (set[way], set[Ways + way], tags[way]) = (key, value, tag);
    }

    /// <summary>Drops a key with whatever tag.</summary>
    public void Drop(ulong key)
    {
        var set = (ulong*)(memory + Hash(key));
        var tags = (uint*)((byte*)set + Tags);
        for (var way = 0; way < Ways; way++)
        {
            if (set[way] == key) tags[way] = 0;
        }
    }

    /// <summary>Drops all keys in a region of addresses whose size is a power of two.</summary>
    public void DropRegion(ulong linear, int shift)
    {
        for (var i = 0; _used && i < sets; i++)
        {
            var set = (ulong*)(memory + i * SetBytes);
            for (var way = 0; way < Ways; way++)
            {
                if ((set[way] ^ linear) >> shift == 0) ((uint*)((byte*)set + Tags))[way] = 0;
            }
        }
    }

    /// <summary>Drops odd keys, of pages, that lead to one host page by their values, which are added to them; zero means all.</summary>
    public void DropOdd(nint hostPage)
    {
        for (var i = 0; _used && i < sets; i++)
        {
            var set = (ulong*)(memory + i * SetBytes);
            for (var way = 0; way < Ways; way++)
            {
                if ((set[way] & 1) != 0 && (hostPage == 0 || (set[way] & ~0xFFFUL) + set[Ways + way] == (ulong)hostPage)) ((uint*)((byte*)set + Tags))[way] = 0;
            }
        }
    }

    public void Clear()
    {
        if (_used) new Span<byte>(memory, sets * SetBytes).Clear();
        _used = false;
    }

    /// <summary>The memory was made zero.</summary>
    public void Forget() => _used = false;

    private int Hash(ulong key) => (int)(BitOperations.Crc32C(0, key) & (uint)(sets - 1)) * SetBytes;
}
