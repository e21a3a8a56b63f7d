namespace Vmm.Devices.Virtio;

/// <summary>The buses that a virtio device can be on.</summary>
public enum VirtioTransportKind
{
    /// <summary>A window of registers that the board places: virtio-mmio, version 2.</summary>
    Mmio,

    /// <summary>A PCI function with MSI-X: virtio-pci, modern.</summary>
    Pci,
}
