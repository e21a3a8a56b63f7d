namespace Vmm.Backends.Software.Mmu;

/// <summary>
/// Where large pages may have been used since the last flush, as bits by a hash: INVLPG must then drop more than 4 KiB. Too much may be
/// dropped, never too little.
/// </summary>
internal sealed class LargePageFilter
{
    private readonly ulong[] _bits = new ulong[128];

    private int _count;

    /// <summary>Whether so many were noted that others are mistaken for them.</summary>
    public bool IsFull => _count > 1024;

    /// <summary>Notes the large page of an address; shifts are 21, 22 or 30.</summary>
    public void Add(ulong linear, int shift)
    {
        ref var word = ref Word(linear, shift);
        if ((word & Bit(linear, shift)) == 0) _count++;
        word |= Bit(linear, shift);
    }

    /// <summary>The binary logarithm of the largest page that may have been used at an address; 12 if no large one was.</summary>
    public int ShiftAt(ulong linear)
    {
        if ((Word(linear, 30) & Bit(linear, 30)) != 0) return 30;
        if ((Word(linear, 22) & Bit(linear, 22)) != 0) return 22;
        return (Word(linear, 21) & Bit(linear, 21)) != 0 ? 21 : 12;
    }

    public void Clear()
    {
        if (_count != 0) Array.Clear(_bits);
        _count = 0;
    }

    private ref ulong Word(ulong linear, int shift) => ref _bits[Hash(linear, shift) >> 6];

    private static ulong Bit(ulong linear, int shift) => 1UL << (Hash(linear, shift) & 63);

    // 13 bits by a multiplicative hash.
    private static int Hash(ulong linear, int shift) => (int)(((linear >> shift) + (ulong)shift * 0x1_0000_0001) * 0x9E37_79B9_7F4A_7C15 >> 51);
}
