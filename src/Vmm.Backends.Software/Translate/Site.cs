namespace Vmm.Backends.Software.Translate;

/// <summary>A place in translated code that can leave it or call C#, as it is given to the <see cref="SiteTable"/>.</summary>
internal struct Site
{
    public Translation Translation;

    /// <summary>The instruction's index in its block.</summary>
    public int Index;

    /// <summary>For a direct branch: its target.</summary>
    public ulong Target;

    /// <summary>For a branch that can be linked: where its operand is; else zero.</summary>
    public int Patch;

    /// <summary>For a branch: whether it goes backwards, so that the target must look for events.</summary>
    public bool Backward;

    /// <summary>For an access: whether it writes.</summary>
    public bool Write;

    /// <summary>For an access: it is all that its instruction can fault for.</summary>
    public bool Alone;

    /// <summary>For an access: its bytes.</summary>
    public byte Size;

    /// <summary>For an access: bits of the address that must be zero.</summary>
    public byte Alignment;

    /// <summary>For the first access of a group: its own address less that of the group.</summary>
    public short Offset;

    /// <summary>The group lies across a page end: code that checks each access for itself goes on; <see cref="Patch"/> then leads there.</summary>
    public bool Crosses;

    /// <summary>For an instruction done by the interpreter: a block of this one alone.</summary>
    public nint Single;

    /// <summary>Whether the site is one of those that have a second half.</summary>
    public readonly bool IsLong => Target != 0 || Backward || Single != 0 || Crosses;
}
