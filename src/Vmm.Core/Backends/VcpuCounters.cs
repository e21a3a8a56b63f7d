namespace Vmm.Core.Backends;

/// <summary>Exits of one vCPU by kind. Written by its thread, readable from any; a reader may see a slightly older value.</summary>
public sealed class VcpuCounters
{
    /// <summary>Port reads (an element of a string instruction counts as one).</summary>
    public long PortReads;

    /// <summary>Port writes.</summary>
    public long PortWrites;

    /// <summary>Memory-mapped I/O reads.</summary>
    public long MmioReads;

    /// <summary>Memory-mapped I/O writes.</summary>
    public long MmioWrites;

    /// <summary>Times the guest halted with nothing pending.</summary>
    public long Halts;

    /// <summary>Interrupts and NMIs delivered, where the backend sees them.</summary>
    public long Interrupts;

    /// <summary>Exceptions delivered, where the backend sees them.</summary>
    public long Exceptions;

    /// <summary>Returns because of a kick.</summary>
    public long Kicks;

    /// <summary>Model-specific registers the guest used that the model does not have.</summary>
    public long UnknownMsrs;

    /// <summary>Blocks of guest code that were translated to host code; those that were translated again count again.</summary>
    public long TranslatedBlocks;
}
