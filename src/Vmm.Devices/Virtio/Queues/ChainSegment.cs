namespace Vmm.Devices.Virtio.Queues;

/// <summary>A buffer in guest memory: one descriptor's, as it was when the chain was taken.</summary>
/// <param name="Address">Guest-physical address of the first byte.</param>
/// <param name="Length">Bytes, not zero; the range was memory when the chain was taken.</param>
public readonly record struct ChainSegment(ulong Address, uint Length);
