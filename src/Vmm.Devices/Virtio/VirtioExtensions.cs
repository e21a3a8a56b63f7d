using Vmm.Core;
using Vmm.Core.Boards;
using Vmm.Devices.Pci;
using Vmm.Devices.Virtio.Transport;

namespace Vmm.Devices.Virtio;

/// <summary>Plugs virtio devices into machines.</summary>
public static class VirtioExtensions
{
    /// <summary>The _HID by which Linux finds a virtio-mmio window.</summary>
    internal const string MmioAcpiId = "LNRO0005";

    /// <summary>Adds a virtio device.</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="name">A name unique within the machine, part of the snapshot format.</param>
    /// <param name="make">Makes the device, once for each machine that is built; the machine disposes it if it is disposable.</param>
    /// <param name="options">Where it is plugged in and what it offers; null for the defaults.</param>
    public static VirtualMachineBuilder AddVirtio(this VirtualMachineBuilder builder, string name, Func<MachineContext, VirtioDevice> make, VirtioOptions? options = null) =>
        builder.AddPart(machine => machine.AddVirtio(name, make(machine), options));

    /// <summary>Adds a virtio device to a machine that is being built.</summary>
    /// <param name="machine">The machine.</param>
    /// <param name="name">A name unique within the machine, part of the snapshot format.</param>
    /// <param name="device">The device; the machine disposes it if it is disposable.</param>
    /// <param name="options">Where it is plugged in and what it offers; null for the defaults.</param>
    /// <exception cref="ArgumentException">The options do not fit, or the name is taken.</exception>
    /// <exception cref="InvalidOperationException">The board has no room left, or no PCI.</exception>
    public static void AddVirtio(this MachineContext machine, string name, VirtioDevice device, VirtioOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(machine);
        options ??= new VirtioOptions();
        if (options.QueueSize is < 1 or > Queues.VirtqueueLimits.QueueSize || !System.Numerics.BitOperations.IsPow2(options.QueueSize))
        {
            throw new ArgumentException($"A queue of '{name}' cannot have {options.QueueSize} descriptors; {nameof(VirtioOptions.QueueSize)} is a power of two up to {Queues.VirtqueueLimits.QueueSize}.", nameof(options));
        }

        if (options.Transport == VirtioTransportKind.Pci)
        {
            machine.AddPciFunction(name, new VirtioPci(device, machine.Memory, options, machine), options.PciDevice);
            return;
        }

        var slot = machine.Board.Place(name, VirtioMmio.WindowLength, MmioAcpiId);
        var transport = new VirtioMmio(device, machine.Memory, slot.Line, options, machine);
        machine.AddDevice(name, transport);
        transport.Map(machine.Bus, slot.Address);
    }
}
