// Virtio 1.3, 2.7 "Split Virtqueues", 2.8 "Packed Virtqueues", 4.1.4.3 "Common configuration structure layout".
namespace Vmm.Devices.Virtio.Queues;

/// <summary>A queue's registers and its places in the rings.</summary>
internal struct QueueState
{
    /// <summary>Descriptors in the ring, as the driver has set it.</summary>
    public ushort Size;

    /// <summary>Enabled by the driver, and found sound.</summary>
    public bool Ready;

    /// <summary>Packed layout and event index, as negotiated when the queue was enabled.</summary>
    public bool Packed, EventIndex, Indirect, InOrder;

    /// <summary>Guest-physical addresses of the three areas.</summary>
    public ulong DescriptorArea, DriverArea, DeviceArea;

    /// <summary>The MSI-X vector (PCI).</summary>
    public ushort Vector;

    /// <summary>Split: the free-running indices. Packed: positions in the ring.</summary>
    public ushort NextAvailable, NextUsed;

    /// <summary>Packed: the wrap counters of both positions.</summary>
    public bool AvailableWrap, UsedWrap;

    /// <summary>Ring entries used since the driver was last asked whether it wants an interrupt.</summary>
    public int Unsignalled;

    /// <summary>Whether the driver has been told not to notify.</summary>
    public bool Suppressed;
}
