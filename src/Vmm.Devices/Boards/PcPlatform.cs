using System.Collections.Immutable;
using System.IO.Pipelines;
using Vmm.Core;
using Vmm.Core.Boards;
using Vmm.Core.Boot;
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.Errors;
using Vmm.Devices.Boards.Acpi;
using Vmm.Devices.Chipset;
using Vmm.Devices.Pci;
using Vmm.Devices.Serial;

namespace Vmm.Devices.Boards;

/// <summary>What the boards of this library have in common: the chips of a PC at their usual places, and the tables about them.</summary>
internal sealed class PcPlatform
{
    // Between the local APICs and the largest firmware, above everything that PCI needs.
    private const ulong WindowsStart = 0xFEF0_0000, WindowsLength = 0x10_0000;
    private const int EbdaSegmentAt = 0x40E, SerialPortsAt = 0x400, BaseMemoryAt = 0x413;

    private readonly bool _hasVgaHole;
    private readonly bool _hasKeyboard;
    private readonly bool _hasMouse;
    private readonly IoApic _ioApic;
    private readonly GsiRouter _router;
    private readonly List<Action<AmlWriter>> _described = [];
    // In order.
    private readonly List<int> _serialPorts = [];
    private readonly ResetPort _reset;
    private AcpiPm? _power;
    private MachineContext? _machine;
    private ImmutableArray<(ulong Start, ulong Length)> _ram = [];

    public PcPlatform(bool hasVgaHole, bool hasKeyboard, bool hasMouse)
    {
        (_hasVgaHole, _hasKeyboard, _hasMouse) = (hasVgaHole, hasKeyboard, hasMouse);
        Pic = new Pic8259(level => _machine?.Partition.Vcpus[0].SetExternalInterrupt(level));
        _ioApic = new IoApic(message => _machine?.Partition.SignalMsi(message));
        _router = new GsiRouter(Pic, _ioApic);
        _reset = new ResetPort(EndByReset);
        Windows = new DeviceWindows(WindowsStart, WindowsLength, _router);
    }

    public Pic8259 Pic { get; }

    public DeviceWindows Windows { get; }

    public Rtc146818? Rtc { get; private set; }

    public I8042? Keyboard { get; private set; }

    public FwCfg? Firmware { get; private set; }

    public PciBus? Pci { get; private set; }

    public ImmutableArray<(ulong Start, ulong Length)> LayOutMemory(ulong bytes) => _ram = MemoryLayout.Ram(bytes, _hasVgaHole);

    public InterruptLine Line(int gsi) => _router.Line(gsi);

    /// <summary>Room above all RAM and below what is PCI's, or would be.</summary>
    public ulong PlaceMemory(string name, ulong length, ulong alignment)
    {
        if (_machine is null) throw new InvalidOperationException("The board is not in a machine yet.");
        var end = MemoryLayout.Pci(_ram).HighStart;
        var start = Aligned(MemoryLayout.HighRam);
        foreach (var region in _machine.Memory.Regions)
        {
            // In ascending order: each one that is in the way moves the start past itself.
            if (region.End > start && (region.Start < start || region.Start - start < length)) start = Aligned(region.End);
        }

        return start <= end && length <= end - start ? start : throw new InvalidOperationException($"No 0x{length:x} bytes of the address space are left for '{name}' between RAM and 0x{end:x}: use less memory.");

        ulong Aligned(ulong address) => (address + (alignment - 1)) & ~(alignment - 1);
    }

    public void Describe(Action<AmlWriter> objects) => _described.Add(objects);

    public void Attach(MachineContext machine)
    {
        if (_machine is not null) throw new InvalidOperationException("This board is in a machine already; make a new one in the factory given to WithBoard.");
        _machine = machine;
        var ports = machine.Bus.Ports;

        // The interrupt controllers come first: they are restored before the devices that drive them.
        machine.AddDevice("pic", Pic);
        ports.Map(BoardPorts.MasterPic, 2, Pic.MasterPorts, Pic);
        ports.Map(BoardPorts.SlavePic, 2, Pic.SlavePorts, Pic);
        ports.Map(BoardPorts.Elcr, 2, Pic.TriggerPorts, Pic);
        machine.Bus.ExternalInterruptController = Pic.Acknowledge;
        machine.AddDevice("ioapic", _ioApic);
        machine.Bus.Mmio.Map(BoardPorts.IoApic, IoApic.WindowLength, _ioApic);
        machine.Bus.EndOfInterruptListener = _ioApic.EndOfInterrupt;

        var pit = new Pit8254(machine.Clock, _router.IsaLine(0));
        Add(BoardPorts.Pit, 4, "pit", pit);
        ports.Map(BoardPorts.Speaker, 1, pit.SpeakerPort, pit);
        Rtc = new Rtc146818(machine.Clock, _router.IsaLine(8));
        Add(BoardPorts.Rtc, 2, "rtc", Rtc);
        Keyboard = new I8042(_router.IsaLine(1), _hasMouse ? _router.IsaLine(12) : null, EndByReset);
        machine.AddDevice("i8042", Keyboard);
        ports.Map(BoardPorts.Keyboard, 1, Keyboard.DataPort, Keyboard);
        ports.Map(BoardPorts.KeyboardCommand, 1, Keyboard.CommandPort, Keyboard);
        Add(BoardPorts.SystemControl, 1, "port92", new SystemControlPort(EndByReset));
        Add(BoardPorts.Reset, 1, "reset", _reset);
        Add(BoardPorts.Post, 1, "post", new PostPort());
        AttachPowerManagement(machine);
    }

    /// <summary>Fits one of the serial ports COM1 to COM4, numbered from 0.</summary>
    public Uart16550 AddSerial(int port, IDuplexPipe? host)
    {
        var machine = _machine!;
        var uart = new Uart16550(machine.Clock, _router.IsaLine(BoardPorts.SerialIrq[port]));
        Add(BoardPorts.Serial[port], Uart16550.WindowLength, $"com{port + 1}", uart);
        uart.FirstOutput += machine.Timeline.MarkConsoleByte;
        if (host is not null) uart.Connect(machine, host);
        _serialPorts.Add(port);
        _serialPorts.Sort();
        return uart;
    }

    /// <summary>Fits a PCI bus with its host bridge.</summary>
    public void AddPci(bool hasShadowMemory)
    {
        var machine = _machine!;
        var windows = MemoryLayout.Pci(_ram);
        var bus = Pci = new PciBus(machine.Bus, windows, Wire, machine.Partition.SignalMsi, _reset);
        machine.AddDevice("pci", bus);
        machine.Bus.Ports.Unmap(BoardPorts.Reset);
        machine.Bus.Ports.Map(BoardPorts.PciAddress, BoardPorts.PciPortCount, bus.AddressPorts, bus);
        machine.Bus.Ports.Map(BoardPorts.PciData, BoardPorts.PciPortCount, bus.DataPorts, bus);
        machine.Bus.Mmio.Map(windows.EcamBase, PciWindows.EcamLength, bus.Ecam, bus);
        bus.Add(machine, "pci-host", new PciHostBridge(hasShadowMemory), 0);
        var hotPlug = bus.HotPlug = new PciHotPlug(bus, machine.Ejected, () => _power!.RaiseEvent(BoardPorts.PciHotPlugEvent));
        Add(BoardPorts.PciHotPlug, PciHotPlug.WindowLength, "pci-hot-plug", hotPlug);
        hotPlug.Attach(machine);

        (InterruptLine, byte) Wire(int pin) => (_router.Line(BoardPorts.FirstPciGsi + pin), (byte)(BoardPorts.FirstPciGsi + pin));
    }

    /// <summary>Fits what firmware expects to find: its configuration device, and memory sizes in the RTC's memory.</summary>
    public FwCfg AddFirmwareSupport()
    {
        var machine = _machine!;
        var firmware = Firmware = new FwCfg(machine.Memory);
        machine.AddDevice("fw-cfg", firmware);
        machine.Bus.Ports.Map(BoardPorts.FwCfg, FwCfg.SelectorLength, firmware.SelectorPorts, firmware);
        machine.Bus.Ports.Map(BoardPorts.FwCfgDma, FwCfg.DmaLength, firmware.DmaPorts, firmware);
        FirmwareFiles.TellMemorySizes(Rtc!, _ram, machine.Partition.Vcpus.Count);
        return firmware;
    }

    public BootContext WriteTables(MachineContext machine, string kernelArguments)
    {
        var memory = machine.Memory;
        var cpus = machine.Partition.Vcpus.Count;
        var map = MemoryLayout.Map(memory, _ram, Pci?.Windows);
        var arguments = string.Join(' ', machine.KernelArguments.Prepend(kernelArguments).Where(a => a.Length > 0));
        if (!MemoryLayout.HasBiosArea(memory)) return new BootContext(memory, map, 0, cpus, arguments);

        var dsdt = Dsdt.Build(cpus, _serialPorts, _hasKeyboard, _hasMouse, Windows.Placed, Pci?.Windows, _described);
        var acpi = AcpiTables.Build(MemoryLayout.Bios, cpus, _hasKeyboard, Pci?.Windows, dsdt).Bytes;
        var mp = MpTable.Build(cpus);
        if ((ulong)acpi.Length > MemoryLayout.BiosUpper - MemoryLayout.Bios || (ulong)mp.Length > MemoryLayout.OneMiB - MemoryLayout.BiosUpper)
        {
            throw new VmmConfigurationException([$"The ACPI tables take {acpi.Length} bytes, more than the 64 KiB that the board has for them: use fewer devices."]);
        }

        if (Firmware is not null) FirmwareFiles.Fill(Firmware, map, cpus, _ram.Aggregate(0UL, (sum, r) => sum + r.Length), AcpiTables.Build(0, cpus, _hasKeyboard, Pci?.Windows, dsdt));
        memory.TryWrite(MemoryLayout.Bios, acpi);
        memory.TryWrite(MemoryLayout.BiosUpper, mp);
        memory.TryFill(MemoryLayout.Ebda, MemoryLayout.VgaStart - MemoryLayout.Ebda, 0);
        memory.TryWrite<byte>(MemoryLayout.Ebda, 1); // its size in KiB
        memory.TryWrite(MemoryLayout.Ebda + 0x10, MpTable.FloatingPointer((uint)MemoryLayout.BiosUpper));
        WriteBiosData(machine);
        return new BootContext(memory, map, MemoryLayout.Bios, cpus, arguments);
    }

    private void AttachPowerManagement(MachineContext machine)
    {
        var pm = _power = new AcpiPm(machine.Clock, _router.IsaLine(BoardPorts.SciIrq), () => machine.End(new MachineExit(MachineExitKind.PoweredOff)));
        Add(BoardPorts.AcpiPm, AcpiPm.WindowLength, "acpi-pm", pm);
        var button = machine.CreateInlet<bool>(pm, _ => pm.PressPowerButton());
        machine.PowerButtonPressed += () => button.Post(true);
    }

    private void Add<T>(ushort port, uint length, string name, T device) where T : IDevice, IIoHandler
    {
        _machine!.AddDevice(name, device);
        _machine.Bus.Ports.Map(port, length, device);
    }

    private void EndByReset() => _machine!.End(new MachineExit(MachineExitKind.Reset));

    // BIOS data area, as a power-on self test leaves it for what old guests look up there.
    private void WriteBiosData(MachineContext machine)
    {
        foreach (var port in _serialPorts) machine.Memory.TryWrite((ulong)(SerialPortsAt + 2 * port), BoardPorts.Serial[port]);
        machine.Memory.TryWrite(EbdaSegmentAt, (ushort)(MemoryLayout.Ebda >> 4));
        machine.Memory.TryWrite(BaseMemoryAt, (ushort)(MemoryLayout.Ebda >> 10));
    }
}
