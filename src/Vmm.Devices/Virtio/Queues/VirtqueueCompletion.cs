namespace Vmm.Devices.Virtio.Queues;

/// <summary>What goes through a device's inlet: a chain that is done, or a queue to look at (without a chain).</summary>
internal readonly record struct VirtqueueCompletion(Virtqueue Queue, DescriptorChain Chain, uint Written);
