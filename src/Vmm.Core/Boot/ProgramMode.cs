namespace Vmm.Core.Boot;

/// <summary>The processor mode that a bare program starts in.</summary>
public enum ProgramMode
{
    /// <summary>16-bit real mode.</summary>
    Real,

    /// <summary>32-bit protected mode, flat segments, paging off.</summary>
    Protected,

    /// <summary>64-bit mode on page tables that map memory to itself.</summary>
    Long,
}
