using Vmm.Core;

namespace Vmm.Devices.Chipset;

/// <summary>Fits machines with a debug-exit port.</summary>
public static class DebugExitExtensions
{
    /// <summary>Adds a port by which the guest ends the machine with <see cref="MachineExitKind.DebugExit"/> and the value it wrote.</summary>
    /// <param name="builder">The machine.</param>
    /// <param name="port">The first of its four ports.</param>
    public static VirtualMachineBuilder AddDebugExit(this VirtualMachineBuilder builder, ushort port = DebugExit.DefaultPort)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.AddPart(machine =>
        {
            var device = new DebugExit(value => machine.End(new MachineExit(MachineExitKind.DebugExit, value)));
            machine.AddDevice($"debug-exit-{port:x}", device);
            machine.Bus.Ports.Map(port, DebugExit.WindowLength, device);
        });
    }
}
