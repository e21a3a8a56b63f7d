using System.IO.Pipelines;
using Vmm.Core;

namespace Vmm.Devices.Chipset;

/// <summary>Fits machines with a debug console.</summary>
public static class DebugConsoleExtensions
{
    /// <summary>Adds a port whose bytes are text for the host.</summary>
    /// <param name="builder">The machine.</param>
    /// <param name="output">Makes the pipe that gets the text, once for each machine that is built; null keeps it for <see cref="DebugConsole.Text"/> only.</param>
    /// <param name="port">The port.</param>
    public static VirtualMachineBuilder AddDebugConsole(this VirtualMachineBuilder builder, Func<PipeWriter>? output = null, ushort port = DebugConsole.DefaultPort)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.AddPart(machine =>
        {
            var device = new DebugConsole(output?.Invoke());
            machine.AddDevice($"debug-console-{port:x}", device);
            machine.Bus.Ports.Map(port, 1, device);
        });
    }
}
