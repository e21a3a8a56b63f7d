using Vmm.Core.Devices;
using Vmm.Devices.Virtio.Queues;

namespace Vmm.Devices.Virtio;

/// <summary>How a virtio device reaches its driver. It is the device as the machine sees it, and its lock.</summary>
internal interface IVirtioTransport : IDevice
{
    /// <summary>Whether the guest lets the device reach its memory.</summary>
    bool MayTransfer { get; }

    /// <summary>Buffers were used.</summary>
    void SignalQueue(Virtqueue queue);

    /// <summary>The configuration, or the status, has changed.</summary>
    void SignalConfig();
}
