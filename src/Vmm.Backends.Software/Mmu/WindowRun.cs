namespace Vmm.Backends.Software.Mmu;

/// <summary>Linear pages, all mapped with the same rights, that are one run of host memory.</summary>
internal struct WindowRun
{
    /// <summary>The linear address of the first byte.</summary>
    public ulong Start;

    /// <summary>Bytes; zero for none.</summary>
    public ulong Length;

    /// <summary>What to add to a linear address to get the host address.</summary>
    public nint Addend;

    /// <summary>The set of the TLB that it would be in.</summary>
    public int View;

    /// <summary>The binary logarithm of its pages' size.</summary>
    public int Shift;

    /// <summary>Whether it can be written, with nothing left to be noted.</summary>
    public bool Write;

    /// <summary>Whether it outlives writes of CR3.</summary>
    public bool Global;
}
