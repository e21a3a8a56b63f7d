using Vmm.Core;

namespace Vmm.Devices.Virtio.Console;

/// <summary>Plugs virtio consoles into machines.</summary>
public static class VirtioConsoleExtensions
{
    /// <summary>Adds a virtio console (Linux: /dev/hvc0 and /dev/vport*).</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="ports">Its ports. Pipes serve one machine: a builder that builds several needs <paramref name="made"/> and pipes of their own.</param>
    /// <param name="options">Where it is plugged in and what it offers; null for the defaults.</param>
    /// <param name="made">Told of the device, once for each machine that is built: to set the window size.</param>
    /// <param name="name">A name unique within the machine.</param>
    public static VirtualMachineBuilder AddVirtioConsole(this VirtualMachineBuilder builder, VirtioConsolePort[] ports, VirtioOptions? options = null, Action<VirtioConsole>? made = null, string name = "console") =>
        builder.AddVirtio(name, _ =>
        {
            var console = new VirtioConsole(ports);
            made?.Invoke(console);
            return console;
        }, options);
}
