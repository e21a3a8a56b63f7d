using System.Runtime.InteropServices;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// A <see cref="Site"/> in the table: how a host position leads back to a guest instruction. There are a hundred thousand of them,
/// and only a third, branches and instructions done by the interpreter, have memory for the second half.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SiteEntry
{
    private const byte IsWrite = 1, IsBackward = 2, IsLong = 4, HasOffset = 8, HighOffset = 16, IsCrossing = 32, IsAlone = 64;

    /// <summary>The number of its translation.</summary>
    public readonly int Translation;
    private readonly byte _index, _size, _alignment, _flags;

    // The second half.
    private readonly ulong _target;

    /// <summary>For a branch that can be linked: where its operand is; else zero.</summary>
    public readonly int Patch;
    private int _stub;

    /// <summary>For a linked branch: the next site that leads to the same target; else -1.</summary>
    public int NextIncoming;

    public SiteEntry(in Site site)
    {
        Translation = site.Translation.Number;
        // The first access of a group has no alignment to keep.
        (_index, _size, _alignment) = ((byte)site.Index, site.Size, site.Offset != 0 ? (byte)site.Offset : site.Alignment);
        _flags = (byte)((site.Write ? IsWrite : 0) | (site.Backward ? IsBackward : 0) | (site.IsLong ? IsLong : 0) | (site.Offset != 0 ? HasOffset : 0) | (site.Offset > 255 ? HighOffset : 0) | (site.Crosses ? IsCrossing : 0) | (site.Alone ? IsAlone : 0));
        (_target, Patch) = (site.Single != 0 ? (ulong)site.Single : site.Target, site.Patch);
    }

    /// <summary>The instruction's index in its block.</summary>
    public readonly int Index => _index;

    /// <summary>For a direct branch: its target.</summary>
    public readonly ulong Target => _target;

    /// <summary>For a branch: where it leads while it is not linked. Of no use to others, which do not keep it.</summary>
    public int Stub
    {
        readonly get => _stub;
        set
        {
            if ((_flags & IsLong) != 0) _stub = value;
        }
    }

    /// <summary>For a branch: whether it goes backwards, so that the target must look for events.</summary>
    public readonly bool Backward => (_flags & IsBackward) != 0;

    /// <summary>For an access: whether it writes.</summary>
    public readonly bool Write => (_flags & IsWrite) != 0;

    /// <summary>For an access: it is all that its instruction can fault for.</summary>
    public readonly bool Alone => (_flags & IsAlone) != 0;

    /// <summary>For an access: its bytes.</summary>
    public readonly byte Size => _size;

    /// <summary>For an access: bits of the address that must be zero.</summary>
    public readonly byte Alignment => (_flags & HasOffset) != 0 ? (byte)0 : _alignment;

    /// <summary>For the first access of a group: its own address less that of the group.</summary>
    public readonly int Offset => (_flags & HasOffset) == 0 ? 0 : _alignment + ((_flags & HighOffset) != 0 ? 256 : 0);

    /// <summary>The group lies across a page end: code that checks each access for itself goes on; <see cref="Patch"/> then leads there.</summary>
    public readonly bool Crosses => (_flags & IsCrossing) != 0;

    /// <summary>For an instruction done by the interpreter: a block of this one alone.</summary>
    public readonly nint Single => (nint)_target;
}
