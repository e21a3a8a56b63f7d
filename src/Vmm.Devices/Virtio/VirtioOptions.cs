namespace Vmm.Devices.Virtio;

/// <summary>What a virtio device offers its driver, and where it is plugged in.</summary>
public sealed record VirtioOptions
{
    /// <summary>The bus it is on.</summary>
    public VirtioTransportKind Transport { get; init; } = VirtioTransportKind.Mmio;

    /// <summary>Its PCI device number, 1 to 31; null takes the first that is free.</summary>
    public int? PciDevice { get; init; }

    /// <summary>The most descriptors in a queue: a power of two, up to <see cref="Queues.VirtqueueLimits.QueueSize"/>. A device may ask for less.</summary>
    public int QueueSize { get; init; } = 256;

    /// <summary>Offers the packed ring layout.</summary>
    public bool Packed { get; init; }

    /// <summary>Offers to use buffers in order: simpler for some drivers, but a slow request then holds up those behind it.</summary>
    public bool InOrder { get; init; }

    /// <summary>Offers indirect descriptors.</summary>
    public bool IndirectDescriptors { get; init; } = true;

    /// <summary>Offers the event index, which saves notifications and interrupts.</summary>
    public bool EventIndex { get; init; } = true;

    /// <summary>Offers to reset single queues.</summary>
    public bool RingReset { get; init; } = true;

    /// <summary>The feature bits that these options offer.</summary>
    internal ulong Features =>
        VirtioFeatures.Version1 | (Packed ? VirtioFeatures.RingPacked : 0) | (InOrder ? VirtioFeatures.InOrder : 0)
        | (IndirectDescriptors ? VirtioFeatures.IndirectDescriptors : 0) | (EventIndex ? VirtioFeatures.EventIndex : 0) | (RingReset ? VirtioFeatures.RingReset : 0);
}
