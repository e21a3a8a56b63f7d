// Virtio 1.3, 5.3.4 "Device configuration layout", struct virtio_console_config.
namespace Vmm.Devices.Virtio.Console;

/// <summary>The configuration of a virtio console.</summary>
/// <param name="Columns">Characters in a line of the terminal.</param>
/// <param name="Rows">Lines of the terminal.</param>
/// <param name="MaxPorts">Number of ports.</param>
/// <param name="EmergencyWrite">Written by a driver that has no queues yet: a character for port 0.</param>
public readonly record struct VirtioConsoleConfig(ushort Columns, ushort Rows, uint MaxPorts, uint EmergencyWrite);
