// Virtio 1.3, 5.19.4 "Device configuration layout".
namespace Vmm.Devices.Virtio.Pmem;

/// <summary>The persistent memory device's configuration structure.</summary>
/// <param name="Start">Guest-physical address of the first byte.</param>
/// <param name="Size">Bytes.</param>
public readonly record struct VirtioPmemConfig(ulong Start, ulong Size);
