// Virtio 1.3, 2.6 "Virtqueues", 2.7.5.3 "Indirect Descriptors"; the rest are bounds of ours.
namespace Vmm.Devices.Virtio.Queues;

/// <summary>What a guest can have at most, whatever it asks for.</summary>
public static class VirtqueueLimits
{
    /// <summary>Descriptors in a ring; the specification's own bound.</summary>
    public const int QueueSize = 32768;

    /// <summary>Queues of a device.</summary>
    public const int Queues = 1024;

    /// <summary>Segments in a descriptor chain, indirect ones included. A longer chain is an error.</summary>
    public const int Segments = 1024;

    /// <summary>Bytes of a descriptor chain, the specification's own bound. A longer chain is an error.</summary>
    public const ulong ChainBytes = 1UL << 32;

    /// <summary>Segments of all the chains of a queue that the device works on at one time. What is more waits in the ring.</summary>
    public const int SegmentsInFlight = 1 << 16;

    /// <summary>Chains that one notification may bring, as a multiple of the queue's size; then others have their turn first.</summary>
    public const int RoundsPerNotification = 2;

    /// <summary>Bytes of a device's configuration structure.</summary>
    public const int ConfigBytes = 1024;
}
