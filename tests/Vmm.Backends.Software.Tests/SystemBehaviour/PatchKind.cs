namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>What a <see cref="PatchedRoutine"/> exchanges.</summary>
public enum PatchKind
{
    /// <summary>A constant.</summary>
    Immediate,

    /// <summary>The whole instruction.</summary>
    Instruction,

    /// <summary>Where a jump leads.</summary>
    Jump,

    /// <summary>Where a conditional jump leads.</summary>
    Condition,

    /// <summary>Where a call leads.</summary>
    Call,

    /// <summary>A constant in a loop: while it is exchanged, rounds of both versions may be added up.</summary>
    Loop,

    /// <summary>Which page is mapped: whoever has seen a version's number forgets what he knew of the page.</summary>
    Mapping,
}
