// ACPI 6.5, 5.6.4 "General-Purpose Event Handling", 5.6.6 "Device Object Notifications", 6.3.3 "_EJx"; PCI Firmware Specification 3.3, 4.9.
using System.Numerics;
using Vmm.Core.Boards;
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.State;

namespace Vmm.Devices.Pci;

/// <summary>
/// Tells the guest by ACPI of devices that come and go on bus 0; see docs/adr for why not by PCI Express. Four registers of 32 bits, a bit for each
/// device number, that the board's AML drives: 0 what was plugged in, 4 what shall be let go (both: write ones to take notice), 8 write ones
/// to eject, 12 what may be ejected.
/// </summary>
public sealed class PciHotPlug : IDevice, IIoHandler
{
    /// <summary>The number of ports.</summary>
    public const uint WindowLength = 16;

    /// <summary>Offset of the devices that were plugged in.</summary>
    public const uint Plugged = 0;

    /// <summary>Offset of the devices that shall be let go.</summary>
    public const uint Requested = 4;

    /// <summary>Offset of the register that ejects.</summary>
    public const uint Eject = 8;

    /// <summary>Offset of the devices that may be ejected.</summary>
    public const uint Removable = 12;

    private struct State
    {
        public uint Plugged, Requested;
    }

    private readonly PciBus _bus;
    private readonly Action<PciFunction> _ejected;
    private readonly Action _raiseEvent;
    private Inlet<(int Device, bool Leave)>? _requests;
    private State _s;

    /// <summary>Makes the controller.</summary>
    /// <param name="bus">The bus it is for.</param>
    /// <param name="ejected">Told of each function that the guest has let go of, when it is off the bus.</param>
    /// <param name="raiseEvent">Raises the general-purpose event that AML hears.</param>
    public PciHotPlug(PciBus bus, Action<PciFunction> ejected, Action raiseEvent) => (_bus, _ejected, _raiseEvent) = (bus, ejected, raiseEvent);

    // The host bridge stays.
    private uint RemovableDevices
    {
        get
        {
            uint devices = 0;
            for (var device = 1; device < PciBus.DeviceCount; device++)
            {
                if (_bus[device] is not null) devices |= 1u << device;
            }

            return devices;
        }
    }

    /// <inheritdoc/>
    public void Reset() => _s = default;

    /// <inheritdoc/>
    public ulong Read(uint offset, int size)
    {
        ulong value = 0;
        for (var i = 0; i < size; i++)
        {
            var at = offset + (uint)i;
            value |= (ulong)(Register(at & ~3u) >> (int)(at % 4 * 8) & 0xFF) << (8 * i);
        }

        return value;
    }

    /// <inheritdoc/>
    public void Write(uint offset, int size, ulong value)
    {
        // The bits of whichever registers the access touches.
        for (var register = offset & ~3u; register < offset + (uint)size; register += 4)
        {
            var bits = register >= offset ? (uint)(value >> (int)((register - offset) * 8)) : (uint)(value << (int)((offset - register) * 8));
            switch (register)
            {
                case Plugged: _s.Plugged &= ~bits; break;
                case Requested: _s.Requested &= ~bits; break;
                case Eject: Remove(bits & RemovableDevices); break;
            }
        }
    }

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor)
    {
        visitor.Field(1, ref _s.Plugged);
        visitor.Field(2, ref _s.Requested);
    }

    /// <summary>Lets requests of the host's come in.</summary>
    internal void Attach(MachineContext machine) => _requests = machine.CreateInlet<(int Device, bool Leave)>(this, r => Request(r.Device, r.Leave));

    /// <summary>The slot of a function.</summary>
    internal IDeviceSlot SlotOf(PciFunction function, int device) => new Slot(this, function, device);

    /// <summary>A device was put into a slot of a machine that was built. No vCPU runs.</summary>
    internal void Announce(int device)
    {
        lock (this)
        {
            _s.Plugged |= 1u << device;
            _s.Requested &= ~(1u << device);
            _raiseEvent();
        }
    }

    private uint Register(uint register) => register switch
    {
        Plugged => _s.Plugged,
        Requested => _s.Requested,
        Removable => RemovableDevices,
        _ => 0,
    };

    private void Request(int device, bool leave)
    {
        var bit = 1u << device & RemovableDevices;
        if (!leave)
        {
            _s.Requested &= ~bit;
            return;
        }

        _s.Requested |= bit;
        if (bit != 0) _raiseEvent();
    }

    private void Remove(uint devices)
    {
        _s.Plugged &= ~devices;
        _s.Requested &= ~devices;
        for (var left = devices; left != 0; left &= left - 1)
        {
            var device = BitOperations.TrailingZeroCount(left);
            for (var number = PciBus.FunctionsPerDevice - 1; number >= 0; number--)
            {
                if (_bus[device, number] is not { } function) continue;
                _bus.Remove(function);
                _ejected(function);
            }
        }
    }

    private sealed class Slot(PciHotPlug owner, PciFunction function, int device) : IDeviceSlot
    {
        public void RequestEject() => owner._requests?.Post((device, true));

        public void WithdrawEject() => owner._requests?.Post((device, false));

        public void Detach()
        {
            lock (owner)
            {
                owner._bus.Remove(function);
                owner._s.Plugged &= owner.RemovableDevices;
            }
        }
    }
}
