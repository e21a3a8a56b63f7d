namespace Vmm.Devices.Virtio.Queues;

/// <summary>A segment of a chain in flight, in saved state. No padding: it is saved as bytes.</summary>
internal struct SavedSegment
{
    public ulong Address, Length;
}
