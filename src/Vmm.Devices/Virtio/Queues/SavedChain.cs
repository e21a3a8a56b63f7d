namespace Vmm.Devices.Virtio.Queues;

/// <summary>A chain in flight, in saved state; its segments follow in a list of their own, readable ones first. No padding: it is saved as bytes.</summary>
internal struct SavedChain
{
    public ushort Id, RingSlots, Readable, Writable;
    public uint Written, Done;
}
