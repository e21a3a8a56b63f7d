namespace Vmm.Backends.Software.Mmu;

/// <summary>Linear pages that may be in a set, and perhaps some others. One thread adds at a time; any may ask.</summary>
internal sealed class PageFilter
{
    // Each page sets two bits.
    private readonly ulong[] _bits = new ulong[1024];

    private int _count;

    /// <summary>Whether so many were added that others are mistaken for them.</summary>
    public bool IsFull => _count > 512;

    /// <summary>Adds the page of an address.</summary>
    public void Add(ulong linear)
    {
        if (MayHave(linear)) return;
        _count++;
        var hash = Hash(linear);
        Word(hash >> 24) |= 1UL << (int)(hash >> 24 & 63);
        Word(hash >> 44) |= 1UL << (int)(hash >> 44 & 63);
    }

    /// <summary>False: the page of an address was not added.</summary>
    public bool MayHave(ulong linear)
    {
        var hash = Hash(linear);
        return (Word(hash >> 24) >> (int)(hash >> 24 & 63) & Word(hash >> 44) >> (int)(hash >> 44 & 63) & 1) != 0;
    }

    /// <summary>Takes out all.</summary>
    public void Clear()
    {
        Array.Clear(_bits);
        _count = 0;
    }

    private static ulong Hash(ulong linear) => (linear >> 12) * 0x9E37_79B9_7F4A_7C15;

    private ref ulong Word(ulong hash) => ref _bits[(int)(hash >> 6) & (_bits.Length - 1)];
}
