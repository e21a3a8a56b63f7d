using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Translate;

/// <summary>One block of guest code as machine code, for one linear address and one privilege view. A boot makes 26 000 of them, so what few need is apart.</summary>
internal sealed unsafe class Translation
{
    private readonly byte _view;
    private byte _regions;
    private HotCode? _hotCode;

    public Translation() => Kin = this;

    /// <summary>Linear address (and RIP: only 64-bit code is translated) of the first byte.</summary>
    public required ulong Rip { get; init; }

    /// <summary>What the interpreter runs in its place; its memory lives until the whole cache is dropped.</summary>
    public required Block* Block { get; init; }

    /// <summary>The TLB set it accesses memory through.</summary>
    public required int View { get => _view; init => _view = (byte)value; }

    /// <summary>Its number in the table of sites; zero until it has one.</summary>
    public int Number { get; set; }

    /// <summary>Offset of the code that looks for events first: entered by backward branches within the page. Zero if it is only reached from the block before.</summary>
    public int Entry { get; set; }

    /// <summary>Offset of the code behind that look: entered by forward branches, through the cache of targets, and from C#.</summary>
    public int Body { get; set; }

    /// <summary>Offset of the code behind the count of runs, where the hot translation goes on if what it counts on does not hold.</summary>
    public int Plain { get; set; }

    /// <summary>The hot translation of the same block that takes its place; null if there is none.</summary>
    public Translation? Hot { get => _hotCode?.Translation; set => Rare.Translation = value; }

    /// <summary>Accesses, by their place in the <see cref="AccessPlan"/>, for which windows are of no use.</summary>
    public HashSet<int>? Unsteady { get => _hotCode?.Unsteady; set => Rare.Unsteady = value; }

    /// <summary>Where returns in it have led once, by their places on the stack, in bytes from RSP.</summary>
    public Dictionary<long, ulong>? Hints { get => _hotCode?.Hints; set => Rare.Hints = value; }

    /// <summary>When its runs began to be counted: <see cref="Translator.Now"/>.</summary>
    public uint Since { get; set; }

    /// <summary>The next translation of the same block; zero for none.</summary>
    public int Next { get; set; }

    /// <summary>The one before; zero for none.</summary>
    public int Previous { get; set; }

    /// <summary>The next of those that are dropped together with it, which in the end is itself: blocks translated as one, and hot and first translation.</summary>
    public Translation Kin { get; set; }

    /// <summary>Whether it, or a kin, was made of granules of a guest-physical page.</summary>
    public bool IsOf(ulong gpa, ulong granules)
    {
        var kin = this;
        // SAFETY: blocks live until all are dropped, and their translations with them.
        do
        {
            var block = kin.Block;
            if ((block->Physical ^ gpa) >> 12 == 0 && (block->Granules & granules) != 0) return true;
            if (block->Second != 0 && (block->Second ^ gpa) >> 12 == 0 && (granules & 1) != 0) return true;
            kin = kin.Kin;
        }
        while (kin != this);
        return false;
    }

    /// <summary>The first site whose branch is linked to this one; -1 for none.</summary>
    public int Incoming { get; set; } = -1;

    /// <summary>A bit for each region that has code of it.</summary>
    public int Regions { get => _regions; set => _regions = (byte)value; }

    /// <summary>Its guest code has changed, or code of it was dropped.</summary>
    public bool Dropped { get; set; }

    private HotCode Rare => _hotCode ??= new HotCode();

    // What a block that became hot has.
    private sealed class HotCode
    {
        public Translation? Translation { get; set; }

        public HashSet<int>? Unsteady { get; set; }

        public Dictionary<long, ulong>? Hints { get; set; }
    }
}
