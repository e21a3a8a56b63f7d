using Vmm.Core;
using Vmm.Devices.Boards;
using Vmm.Devices.Boards.Acpi;

namespace Vmm.Devices.Chipset;

/// <summary>Fits machines with a panic port.</summary>
public static class PvPanicExtensions
{
    /// <summary>
    /// Adds a port by which the guest's kernel ends the machine with <see cref="MachineExitKind.Panicked"/>; boards of this library
    /// describe it by ACPI, so that Linux finds it by itself.
    /// </summary>
    /// <param name="builder">The machine.</param>
    /// <param name="port">The port.</param>
    public static VirtualMachineBuilder AddPvPanic(this VirtualMachineBuilder builder, ushort port = PvPanic.DefaultPort)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.AddPart(machine =>
        {
            var device = new PvPanic(() => machine.End(new MachineExit(MachineExitKind.Panicked)));
            machine.AddDevice("pvpanic", device);
            machine.Bus.Ports.Map(port, 1, device);
            (machine.Board as IAcpiNamespace)?.Describe(scope => scope.Device("PEVT", d =>
            {
                d.Name("_HID", "QEMU0001");
                d.Resources(r => r.Io(port, 1));
            }));
        });
    }
}
