namespace Vmm.Backends.Software.Mmu;

/// <summary>
/// The tags of what was translated in each address space, as PCIDs name them. Code of the current one is found by <see cref="Current"/>; a
/// new tag drops everything of a space at once.
/// </summary>
internal sealed class AddressSpaces
{
    /// <summary>The tag of what is global.</summary>
    public const uint Global = 1;

    // Systems use a handful of PCIDs in turn.
    private const int Kept = 16;

    // Two bits are left for others to add.
    private const uint Last = uint.MaxValue >> 2;

    private readonly (ulong Pcid, uint Tag)[] _kept = new (ulong, uint)[Kept];
    private uint _last = Global;

    /// <summary>The tag of the current address space.</summary>
    public uint Current { get; private set; } = Global + 1;

    /// <summary>Whether tags are used up: everything must be dropped, in all tables, and <see cref="Restart"/> called.</summary>
    public bool IsSpent => _last >= Last - 1;

    /// <summary>Makes another space current.</summary>
    /// <param name="from">The PCID of the current one.</param>
    /// <param name="to">The PCID of the other.</param>
    /// <param name="keep">Whether what was kept of it still holds.</param>
    public void Switch(ulong from, ulong to, bool keep)
    {
        _kept[from % Kept] = (from, Current);
        var (pcid, tag) = _kept[to % Kept];
        Current = keep && pcid == to && tag != 0 ? tag : ++_last;
    }

    /// <summary>Drops what is not global of one space.</summary>
    /// <param name="pcid">Its PCID.</param>
    public void Drop(ulong pcid)
    {
        if (_kept[pcid % Kept].Pcid == pcid) _kept[pcid % Kept].Tag = 0;
    }

    /// <summary>Drops what is not global of the current space.</summary>
    public void DropCurrent() => Current = ++_last;

    /// <summary>Drops what is not global of all spaces.</summary>
    public void DropAll()
    {
        Array.Clear(_kept);
        DropCurrent();
    }

    /// <summary>Begins anew, once nothing with a tag is left.</summary>
    public void Restart()
    {
        _last = Global;
        DropAll();
    }
}
