using Vmm.Core.Boards;
using Vmm.Core.Buses;

namespace Vmm.Core.Devices;

/// <summary>Plugs devices of the caller's own into a machine.</summary>
public static class DeviceBuilderExtensions
{
    /// <summary>Adds a device that the guest does not reach by a window of its own.</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="name">A name unique within the machine, part of the snapshot format.</param>
    /// <param name="make">Makes the device, once for each machine that is built; the machine disposes it.</param>
    public static VirtualMachineBuilder AddDevice(this VirtualMachineBuilder builder, string name, Func<MachineContext, IDevice> make) =>
        builder.AddPart(machine => machine.AddDevice(name, make(machine)));

    /// <summary>Adds a device with a window of memory-mapped I/O. The device implements <see cref="IIoHandler"/>.</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="name">A name unique within the machine, part of the snapshot format.</param>
    /// <param name="make">Makes the device, once for each machine that is built; the machine disposes it. Interrupt lines come from <see cref="IBoard.Line"/>.</param>
    /// <param name="mmio">Guest-physical address of the window.</param>
    /// <param name="length">Its length in bytes.</param>
    public static VirtualMachineBuilder AddDevice(this VirtualMachineBuilder builder, string name, Func<MachineContext, IDevice> make, ulong mmio, ulong length = 0x1000) =>
        builder.AddPart(machine =>
        {
            var device = make(machine);
            machine.AddDevice(name, device);
            if (machine.Memory.Regions.FirstOrDefault(r => mmio < r.End && r.Start < mmio + length) is { } region)
            {
                throw new ArgumentException($"The window 0x{mmio:x}+0x{length:x} of device '{name}' lies in memory region [{region}], which wins; move the window.", nameof(mmio));
            }

            machine.Bus.Mmio.Map(mmio, length, Handler(name, device), device);
        });

    /// <summary>Adds a device with a window of I/O ports. The device implements <see cref="IIoHandler"/>.</summary>
    /// <param name="builder">The builder.</param>
    /// <param name="name">A name unique within the machine, part of the snapshot format.</param>
    /// <param name="make">Makes the device, once for each machine that is built; the machine disposes it. Interrupt lines come from <see cref="IBoard.Line"/>.</param>
    /// <param name="port">The first port.</param>
    /// <param name="count">The number of ports.</param>
    public static VirtualMachineBuilder AddDevice(this VirtualMachineBuilder builder, string name, Func<MachineContext, IDevice> make, ushort port, int count) =>
        builder.AddPart(machine =>
        {
            var device = make(machine);
            machine.AddDevice(name, device);
            machine.Bus.Ports.Map(port, (ulong)Math.Max(count, 0), Handler(name, device), device);
        });

    private static IIoHandler Handler(string name, IDevice device) =>
        device as IIoHandler ?? throw new ArgumentException($"The device '{name}' ({device.GetType().Name}) has a window but does not implement {nameof(IIoHandler)}.", nameof(device));
}
