// Virtio 1.3, 2.6.2 "Virtqueue Reset", 2.7, 2.8.
using Vmm.Core.Memory;

namespace Vmm.Devices.Virtio.Queues;

/// <summary>
/// One of the two ring layouts in guest memory. Every word is read once, checked, then used. What the guest has wrong is
/// left in <see cref="Fault"/>.
/// </summary>
/// <param name="memory">Guest memory.</param>
internal abstract class Ring(GuestMemory memory)
{
    protected const int DescriptorSize = 16;
    protected const ushort Next = 1, Write = 2, Indirect = 4;

    protected GuestMemory Memory { get; } = memory;

    /// <summary>What was found wrong, after a method returned false; null where it was not that.</summary>
    public string? Fault { get; protected set; }

    /// <summary>Bytes of the three areas for a size, and their alignments.</summary>
    public abstract ((ulong Length, ulong Alignment) Descriptors, (ulong Length, ulong Alignment) Driver, (ulong Length, ulong Alignment) Device) Layout(int size, bool eventIndex);

    /// <summary>Whether a size is one the layout can have.</summary>
    public abstract bool IsSize(int size);

    /// <summary>Sets positions to those of a queue that was just enabled.</summary>
    public abstract void Start(ref QueueState queue);

    /// <summary>Whether loaded positions are ones a queue of its size can have.</summary>
    public abstract bool HasSoundPositions(in QueueState queue);

    /// <summary>Whether the driver has made a chain available.</summary>
    public abstract bool HasAvailable(ref QueueState queue);

    /// <summary>Takes the next available chain. False when there is none, or <see cref="Fault"/>.</summary>
    public abstract bool TryTake(ref QueueState queue, ChainSlot slot);

    /// <summary>Gives a chain back to the driver. False for <see cref="Fault"/>: the ring is not in RAM any more.</summary>
    public abstract bool Use(ref QueueState queue, ChainSlot slot);

    /// <summary>Asks the driver to notify of new chains, or not to. The caller looks again after asking.</summary>
    public abstract void SetNotifications(ref QueueState queue, bool wanted);

    /// <summary>Whether the driver wants an interrupt for what was used since it was last asked.</summary>
    public abstract bool WantsInterrupt(ref QueueState queue);

    /// <summary>Forgets what it has read ahead of guest memory.</summary>
    public virtual void Forget() => Fault = null;

    protected bool Fail(string reason)
    {
        Fault = reason;
        return false;
    }

    /// <summary>The same computation for both layouts, 2.7.10 "Available Buffer Notification Suppression": modulo 2^16.</summary>
    protected static bool Passes(ushort wanted, ushort now, ushort before) => (ushort)(now - wanted - 1) < (ushort)(now - before);
}
