using Vmm.Core;
using Vmm.Core.Boards;
using Vmm.Devices.Boards;

namespace Vmm.Devices.Pci;

/// <summary>Plugs PCI functions into machines.</summary>
public static class PciExtensions
{
    /// <summary>Adds a PCI function.</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="name">A name unique within the machine, part of the snapshot format.</param>
    /// <param name="make">Makes the function, once for each machine that is built; the machine disposes it.</param>
    /// <param name="device">Its device number, 1 to 31; null takes the first that is free.</param>
    /// <param name="number">Its function number, 0 to 7.</param>
    public static VirtualMachineBuilder AddPciFunction(this VirtualMachineBuilder builder, string name, Func<MachineContext, PciFunction> make, int? device = null, int number = 0) =>
        builder.AddPart(machine => machine.AddPciFunction(name, make(machine), device, number));

    /// <summary>Adds a PCI function to a machine that is being built, or from within a plug.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="name">A name unique within the machine, part of the snapshot format.</param>
    /// <param name="function">The function; the machine disposes it.</param>
    /// <param name="device">Its device number, 1 to 31; null takes the first that is free.</param>
    /// <param name="number">Its function number, 0 to 7.</param>
    /// <exception cref="InvalidOperationException">The board has no PCI, or no slot left.</exception>
    /// <exception cref="ArgumentException">The name or the place is taken.</exception>
    public static void AddPciFunction(this MachineContext machine, string name, PciFunction function, int? device = null, int number = 0)
    {
        ArgumentNullException.ThrowIfNull(machine);
        if (machine.Board is not IPciBoard { Pci: { } bus }) throw new InvalidOperationException($"The board '{machine.Board.Name}' has no PCI for '{name}'; use the board 'pc', or 'microvm' with {nameof(MicroVmOptions)}.{nameof(MicroVmOptions.Pci)}.");
        bus.Add(machine, name, function, device, number);
    }
}
