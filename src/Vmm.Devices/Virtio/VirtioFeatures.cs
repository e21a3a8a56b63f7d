// Virtio 1.3, 6 "Reserved Feature Bits".
namespace Vmm.Devices.Virtio;

/// <summary>Feature bits that concern queues and transport, as masks. Bits 0 to 23 and 50 to 63 are each device's own.</summary>
public static class VirtioFeatures
{
    /// <summary>Descriptors may point to tables of descriptors.</summary>
    public const ulong IndirectDescriptors = 1UL << 28;

    /// <summary>Each side says at which ring position it wants to be notified.</summary>
    public const ulong EventIndex = 1UL << 29;

    /// <summary>Virtio 1.0 or later; always offered, and a driver that does not take it is refused.</summary>
    public const ulong Version1 = 1UL << 32;

    /// <summary>The packed ring layout in place of the split one.</summary>
    public const ulong RingPacked = 1UL << 34;

    /// <summary>The device uses buffers in the order in which they were made available.</summary>
    public const ulong InOrder = 1UL << 35;

    /// <summary>Single queues can be reset.</summary>
    public const ulong RingReset = 1UL << 40;

    /// <summary>The bits that the core answers for; a device does not offer them itself.</summary>
    public const ulong OfTheCore = ((1UL << 50) - 1) & ~((1UL << 24) - 1);
}
