// PCI Local Bus Specification 3.0, 3.2.2.3.2 "Software Generation of Configuration Transactions" (CF8/CFC); PCI Express Base 5.0, 7.2.2 "ECAM".
using Vmm.Core.Boards;
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.State;
using Vmm.Devices.Chipset;

namespace Vmm.Devices.Pci;

/// <summary>
/// Bus 0 of a machine: 32 devices of up to 8 functions, whose configuration space is reached by the ports CF8 and CFC and by memory.
/// Device 0 is the host bridge. The order of locks is: this bus, then a function, then the decoder.
/// </summary>
public sealed class PciBus : IDevice
{
    /// <summary>Devices on a bus.</summary>
    public const int DeviceCount = 32;

    /// <summary>Functions of a device.</summary>
    public const int FunctionsPerDevice = 8;

    private const uint Enable = 1u << 31, AddressBits = 0x80FF_FFFC;
    private const int FunctionShift = 12, PortFunctionShift = 8, PinCount = 4;

    private struct State
    {
        public uint Address;
    }

    private readonly PciFunction?[] _functions = new PciFunction?[DeviceCount * FunctionsPerDevice];
    private readonly PciDecoder _decoder;
    private readonly Func<int, (InterruptLine Line, byte Number)> _wire;
    private readonly Action<MsiMessage> _signal;
    private State _s;

    /// <summary>Makes an empty bus.</summary>
    /// <param name="bus">What the functions' ranges are claimed on.</param>
    /// <param name="windows">The addresses behind the host bridge.</param>
    /// <param name="wire">Makes a wire for an interrupt pin: gets device number plus pin (from 0) modulo 4, and tells the interrupt's number too.</param>
    /// <param name="signal">Delivers messages.</param>
    /// <param name="reset">Serves the byte port CF9, which lies inside the port CF8; null where there is none.</param>
    public PciBus(SystemBus bus, PciWindows windows, Func<int, (InterruptLine Line, byte Number)> wire, Action<MsiMessage> signal, ResetPort? reset = null)
    {
        ArgumentNullException.ThrowIfNull(windows);
        (_wire, _signal, Windows) = (wire, signal, windows);
        _decoder = new PciDecoder(bus, windows);
        AddressPorts = new AddressWindow(this, reset);
        DataPorts = new DataWindow(this);
        Ecam = new EcamWindow(this);
    }

    /// <summary>The addresses behind the host bridge.</summary>
    public PciWindows Windows { get; }

    /// <summary>Serves the ports CF8 to CFB.</summary>
    public IIoHandler AddressPorts { get; }

    /// <summary>Serves the ports CFC to CFF.</summary>
    public IIoHandler DataPorts { get; }

    /// <summary>Serves <see cref="PciWindows.EcamLength"/> bytes of memory-mapped configuration space.</summary>
    public IIoHandler Ecam { get; }

    /// <summary>Tells the guest of devices that come and go; null on a bus whose devices are fixed.</summary>
    public PciHotPlug? HotPlug { get; internal set; }

    /// <summary>The function at an address, or null.</summary>
    /// <param name="device">0 to 31.</param>
    /// <param name="function">0 to 7.</param>
    public PciFunction? this[int device, int function = 0] => Volatile.Read(ref _functions[device * FunctionsPerDevice + function]);

    /// <summary>Puts a function into the machine. To be called while no vCPU runs: when the machine is built, or from a plug.</summary>
    /// <param name="machine">The machine whose board this bus is on.</param>
    /// <param name="name">A name unique within the machine, part of the snapshot format.</param>
    /// <param name="function">The function; the machine disposes it.</param>
    /// <param name="device">Its device number, 1 to 31; null takes the first that is free.</param>
    /// <param name="number">Its function number, 0 to 7. Of a device that is plugged in while the guest runs, function 0 comes last.</param>
    /// <exception cref="ArgumentException">The place is taken or does not exist, or the name is taken.</exception>
    /// <exception cref="InvalidOperationException">All places are taken, or the function is in a slot already.</exception>
    public void Add(MachineContext machine, string name, PciFunction function, int? device = null, int number = 0)
    {
        ArgumentNullException.ThrowIfNull(machine);
        ArgumentNullException.ThrowIfNull(function);
        var slot = device ?? FirstFree();
        if (slot is < 0 or >= DeviceCount || number is < 0 or >= FunctionsPerDevice) throw new ArgumentOutOfRangeException(nameof(device), $"Function {slot}.{number} of '{name}' does not exist: devices are 1 to {DeviceCount - 1}, functions 0 to {FunctionsPerDevice - 1}.");
        if (this[slot, number] is not null) throw new ArgumentException($"The PCI slot {slot}.{number} for '{name}' is taken; choose another, or none.", nameof(device));
        machine.AddDevice(name, function, slot == 0 ? null : HotPlug?.SlotOf(function, slot));
        Insert(function, slot, number);

        // A device is complete, and its guest told, when it has its function 0.
        if (machine.IsBuilt && number == 0) HotPlug?.Announce(slot);
    }

    /// <inheritdoc/>
    public void Reset() => _s = default;

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor) => visitor.Field(1, ref _s.Address);

    /// <inheritdoc/>
    public void OnStateLoaded() => _s.Address &= AddressBits;

    internal void Insert(PciFunction function, int device, int number)
    {
        lock (function)
        {
            // Pin A of function 0, B of function 1 and so on, each device turned by one (PCI-to-PCI Bridge Architecture 1.2, 9.1).
            var (line, lineNumber) = _wire((device + number) % PinCount);
            var address = device * FunctionsPerDevice + number;
            function.Connect(new PciConnection(address, _decoder, line, lineNumber, _signal));
            Volatile.Write(ref _functions[address], function);
        }

        TellFirst(device);
    }

    /// <summary>Takes a function out; it claims nothing any more. Any thread.</summary>
    internal void Remove(PciFunction function)
    {
        var address = function.Address;
        if (address < 0) return;
        Volatile.Write(ref _functions[address], null);
        function.Disconnect();
        TellFirst(address / FunctionsPerDevice);
    }

    private void TellFirst(int device)
    {
        var first = this[device];
        if (first is null) return;
        var several = false;
        for (var i = 1; i < FunctionsPerDevice; i++) several |= this[device, i] is not null;
        lock (first) first.SetMultiFunction(several);
    }

    private int FirstFree()
    {
        for (var device = 1; device < DeviceCount; device++)
        {
            if (this[device] is null) return device;
        }

        throw new InvalidOperationException($"All {DeviceCount - 1} PCI slots are taken; use fewer devices, or put several into one as functions.");
    }

    private ulong ReadConfig(int address, int register, int size)
    {
        if (Volatile.Read(ref _functions[address]) is not { } function) return ulong.MaxValue;
        lock (function) return function.ReadConfig(register, size);
    }

    private void WriteConfig(int address, int register, int size, ulong value)
    {
        if (Volatile.Read(ref _functions[address]) is not { } function) return;
        lock (function) function.WriteConfig(register, size, value);
    }

    /// <summary>The address register answers whole double words only; what is smaller goes by it, to the reset port inside.</summary>
    private sealed class AddressWindow(PciBus owner, ResetPort? reset) : IIoHandler
    {
        private const uint ResetAt = 1;

        public ulong Read(uint offset, int size)
        {
            if (offset == 0 && size == 4) return owner._s.Address;
            if (offset != ResetAt || size != 1 || reset is null) return ulong.MaxValue;
            lock (reset) return reset.Read(0, 1);
        }

        public void Write(uint offset, int size, ulong value)
        {
            if (offset == 0 && size == 4) owner._s.Address = (uint)value & AddressBits;
            if (offset != ResetAt || size != 1 || reset is null) return;
            lock (reset) reset.Write(0, 1, value);
        }
    }

    private sealed class DataWindow(PciBus owner) : IIoHandler
    {
        public ulong Read(uint offset, int size) => TryFind(out var address) ? owner.ReadConfig(address, Register(offset), size) : ulong.MaxValue;

        public void Write(uint offset, int size, ulong value)
        {
            if (TryFind(out var address)) owner.WriteConfig(address, Register(offset), size, value);
        }

        private int Register(uint offset) => (int)((owner._s.Address & 0xFC) + offset);

        private bool TryFind(out int address)
        {
            var selected = owner._s.Address;
            address = (int)(selected >> PortFunctionShift & 0xFF);
            return (selected & Enable) != 0 && (selected >> 16 & 0xFF) == 0;
        }
    }

    private sealed class EcamWindow(PciBus owner) : IIoHandler
    {
        public ulong Read(uint offset, int size)
        {
            var (address, register) = Split(offset);
            if (register + size <= PciSpec.ConfigSize) return owner.ReadConfig(address, register, size);
            ulong value = 0;
            for (var i = 0; i < size; i++) value |= (Read(offset + (uint)i, 1) & 0xFF) << (8 * i);
            return value;
        }

        public void Write(uint offset, int size, ulong value)
        {
            var (address, register) = Split(offset);
            if (register + size <= PciSpec.ConfigSize) owner.WriteConfig(address, register, size, value);
            else for (var i = 0; i < size; i++) Write(offset + (uint)i, 1, value >> (8 * i) & 0xFF);
        }

        private static (int Address, int Register) Split(uint offset) => ((int)(offset >> FunctionShift) & 0xFF, (int)offset & (PciSpec.ConfigSize - 1));
    }
}
