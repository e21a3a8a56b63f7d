namespace Vmm.Devices.Pci;

/// <summary>What kind of addresses a base address register claims.</summary>
public enum PciBarKind
{
    /// <summary>Memory below 4 GiB.</summary>
    Memory32,

    /// <summary>Memory below 4 GiB whose reads have no effect.</summary>
    Memory32Prefetchable,

    /// <summary>Memory anywhere; takes the next register too.</summary>
    Memory64,

    /// <summary>Memory anywhere whose reads have no effect; takes the next register too.</summary>
    Memory64Prefetchable,

    /// <summary>I/O ports.</summary>
    Io,
}
