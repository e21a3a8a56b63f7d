using Vmm.Devices.Storage;

namespace Vmm.Devices.Virtio.Block;

/// <summary>What a virtio disk is like.</summary>
public sealed record VirtioBlockOptions
{
    /// <summary>What the guest reads as the disk's serial number (Linux: /sys/block/vda/serial): up to 20 ASCII characters.</summary>
    public string Serial { get; init; } = "";

    /// <summary>Queues, 1 to 64: one for each vCPU is best.</summary>
    public int Queues { get; init; } = 1;

    /// <summary>Shows the disk as read-only, as it also is where the store is.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>How fast requests may go.</summary>
    public RateLimit Limit { get; init; }

    /// <summary>Leaves the store open when the machine is disposed.</summary>
    public bool LeaveOpen { get; init; }
}
