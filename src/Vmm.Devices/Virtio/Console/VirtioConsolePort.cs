using System.IO.Pipelines;

namespace Vmm.Devices.Virtio.Console;

/// <summary>A port of a virtio console, as it is asked for.</summary>
/// <param name="Name">What the guest knows it by: up to <see cref="VirtioConsole.NameBytes"/> bytes of UTF-8.</param>
/// <param name="Pipe">What the guest reads comes from its input, what it writes goes to its output; null for a port that nobody is at.</param>
/// <param name="IsConsole">A terminal (Linux: /dev/hvc0), rather than a plain channel (/dev/vport0p1).</param>
public sealed record VirtioConsolePort(string Name, IDuplexPipe? Pipe, bool IsConsole = false);
