namespace Vmm.Devices.Virtio;

/// <summary>The three areas of a queue in guest memory.</summary>
internal enum QueueArea
{
    Descriptors,
    Driver,
    Device,
}
