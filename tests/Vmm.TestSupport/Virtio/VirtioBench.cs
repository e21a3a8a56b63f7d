using System.Diagnostics.CodeAnalysis;
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.Memory;
using Vmm.Devices.Pci;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Transport;

namespace Vmm.TestSupport.Virtio;

/// <summary>
/// One virtio device without a machine: a bus, guest memory with a hole and a ROM in it, and a driver. Queues are from <see cref="QueueMemory"/> on,
/// the rest of RAM is the driver's.
/// </summary>
public sealed class VirtioBench : IDisposable, IInterruptSink
{
    public const ulong Ram = 0, RamLength = 0x10_0000, SecondRam = 0x20_0000, SecondRamLength = 0x1_0000, Rom = 0x30_0000, RomLength = 0x1000, Hole = 0x18_0000;
    public const ulong QueueMemory = 0x1_0000, Data = 0x8_0000, Window = 0xD000_0000;

    private readonly MemoryRegion[] _regions;
    private readonly IDisposable _transport;
    private readonly Func<DriverTransport> _find;

    public VirtioBench(VirtioDevice device, VirtioOptions? options = null)
    {
        options ??= new VirtioOptions();
        Device = device;
        _regions =
        [
            MemoryRegion.Allocate("ram", Ram, RamLength), MemoryRegion.Allocate("ram2", SecondRam, SecondRamLength), MemoryRegion.Allocate("rom", Rom, RomLength, MemoryRegionKind.Rom),
        ];
        foreach (var region in _regions) Memory.Add(region);
        Bus = new SystemBus(Memory);
        if (options.Transport == VirtioTransportKind.Pci)
        {
            var function = new VirtioPci(device, Memory, options);
            var pci = new PciBus(Bus, new PciWindows(Window, 0x1000, 0x2000, Window + PciWindows.EcamLength, Window + 0x100_0000, 1UL << 38, 1UL << 39), _ => (new InterruptLine(this, 0), 11), Messages.Add);
            Bus.Mmio.Map(Window, PciWindows.EcamLength, pci.Ecam, pci);
            pci.Insert(function, 1, 0);
            function.Reset();
            (_transport, State) = (function, function);
            _find = () => new PciDriverTransport(Bus, Window + (1 << 15), (uint)Window + PciWindows.EcamLength, Messages);
        }
        else
        {
            var mmio = new VirtioMmio(device, Memory, new InterruptLine(this, 0), options);
            mmio.Map(Bus, Window);
            (_transport, State) = (mmio, mmio);
            _find = () => new MmioDriverTransport(Bus, Window);
        }

        Find();
    }

    public VirtioDevice Device { get; }

    public GuestMemory Memory { get; } = new();

    public SystemBus Bus { get; }

    public DriverTransport Transport { get; private set; }

    public VirtioDriver Driver { get; private set; }

    /// <summary>The device as the machine saves it.</summary>
    public IDevice State { get; }

    /// <summary>The messages that the function has sent (PCI).</summary>
    public List<MsiMessage> Messages { get; } = [];

    /// <summary>How often the interrupt line was raised.</summary>
    public int Interrupts { get; private set; }

    public bool IsBroken => (Device.Status & VirtioStatus.NeedsReset) != 0;

    public MemoryRegion SecondRegion => _regions[1];

    /// <summary>A new driver looks for the device, after a reset of the machine.</summary>
    [MemberNotNull(nameof(Transport), nameof(Driver))]
    public void Find()
    {
        Transport = _find();
        Driver = new VirtioDriver(Transport, Memory, QueueMemory) { Settle = Driver?.Settle };
    }

    /// <summary>Resets as the machine does: under the device's lock, because threads of the host may be completing requests.</summary>
    public void Reset()
    {
        lock (State) State.Reset();
    }

    public byte[] Read(ulong address, int length)
    {
        var bytes = new byte[length];
        Memory.TryRead(address, bytes);
        return bytes;
    }

    public void Dispose()
    {
        _transport.Dispose();
        foreach (var region in _regions) region.Dispose();
    }

    void IInterruptSink.SetInput(int input, bool level) => Interrupts += level ? 1 : 0;
}
