// Virtio 1.3, 5.3.6.2 "Multiport Device Operation", struct virtio_console_control.
namespace Vmm.Devices.Virtio.Console;

/// <summary>A message of the control queues.</summary>
internal readonly record struct ConsoleMessage(uint Id, ConsoleEvent Event, ushort Value);
