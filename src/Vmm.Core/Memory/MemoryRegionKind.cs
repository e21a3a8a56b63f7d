namespace Vmm.Core.Memory;

/// <summary>What the guest may do with a region of guest-physical memory.</summary>
public enum MemoryRegionKind
{
    /// <summary>Readable, writable and executable memory.</summary>
    Ram,

    /// <summary>Readable and executable memory; guest writes are dropped and counted as unclaimed.</summary>
    Rom,
}
