// Virtio 1.3, 4.2 "Virtio Over MMIO", register layout of version 2 (4.2.2).
using Vmm.Core.Boards;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.State;
using Vmm.Devices.Virtio.Queues;

namespace Vmm.Devices.Virtio.Transport;

/// <summary>A virtio device behind a window of registers and one level interrupt.</summary>
public sealed class VirtioMmio : IVirtioTransport, IIoHandler, IDisposable
{
    /// <summary>Bytes of the window.</summary>
    public const uint WindowLength = ConfigSpace + VirtqueueLimits.ConfigBytes;

    /// <summary>Offset of the notification register, where doorbells are.</summary>
    public const uint QueueNotify = 0x050;

    private const uint MagicValue = 0x000, Version = 0x004, DeviceId = 0x008, VendorId = 0x00C, DeviceFeatures = 0x010, DeviceFeaturesSelect = 0x014;
    private const uint DriverFeatures = 0x020, DriverFeaturesSelect = 0x024, QueueSelect = 0x030, QueueSizeMax = 0x034, QueueSize = 0x038, QueueReady = 0x044;
    private const uint InterruptStatus = 0x060, InterruptAcknowledge = 0x064, Status = 0x070;
    private const uint QueueDescriptorsLow = 0x080, QueueDescriptorsHigh = 0x084, QueueDriverLow = 0x090, QueueDriverHigh = 0x094, QueueDeviceLow = 0x0A0, QueueDeviceHigh = 0x0A4;
    private const uint SharedMemoryLengthLow = 0x0B0, SharedMemoryLengthHigh = 0x0B4, SharedMemoryBaseLow = 0x0B8, SharedMemoryBaseHigh = 0x0BC, QueueReset = 0x0C0;
    private const uint Generation = 0x0FC, ConfigSpace = 0x100;
    private const uint Magic = 0x74726976, ModernVersion = 2, Vendor = 0x4D4D_5600;
    private const uint UsedBuffer = 1, ConfigurationChange = 2;

    private struct State
    {
        public uint Interrupts;
    }

    private readonly VirtioDevice _device;
    private readonly VirtioControl _control;
    private readonly InterruptLine _irq;
    private State _s;

    /// <summary>Connects a device to a window.</summary>
    /// <param name="device">The device, not connected yet.</param>
    /// <param name="memory">Guest memory.</param>
    /// <param name="irq">Its interrupt.</param>
    /// <param name="options">What is offered; null for the defaults.</param>
    /// <param name="machine">The machine, whose inlets carry what comes from outside; null in a test without one.</param>
    public VirtioMmio(VirtioDevice device, GuestMemory memory, InterruptLine irq, VirtioOptions? options = null, MachineContext? machine = null)
    {
        ArgumentNullException.ThrowIfNull(device);
        (_device, _control, _irq) = (device, device.Control, irq);
        _control.Connect(this, memory, options ?? new VirtioOptions(), machine);
    }

    /// <inheritdoc/>
    public void Reset()
    {
        _control.Reset();
        _s = default;
        Update();
    }

    /// <inheritdoc/>
    public ulong Read(uint offset, int size)
    {
        if (offset >= ConfigSpace) return _control.ReadConfig(offset - ConfigSpace, size);
        if (size != 4 || offset % 4 != 0)
        {
            _control.CountMistake();
            return 0;
        }

        switch (offset)
        {
            case MagicValue: return Magic;
            case Version: return ModernVersion;
            case DeviceId: return _device.DeviceId;
            case VendorId: return Vendor;
            case DeviceFeatures: return _control.ReadDeviceFeatures();
            case QueueSizeMax: return (uint)(_control.Selected?.MaximumSize ?? 0);
            case QueueReady: return _control.Selected is { IsReady: true } ? 1u : 0;
            case QueueReset: return _control.Selected is { IsDraining: true } ? 1u : 0;
            case InterruptStatus: return _s.Interrupts;
            case Status: return (uint)_control.Status;
            case Generation: return _control.ConfigGeneration;
            case SharedMemoryLengthLow or SharedMemoryLengthHigh or SharedMemoryBaseLow or SharedMemoryBaseHigh: return uint.MaxValue;
            default: return 0;
        }
    }

    /// <inheritdoc/>
    public void Write(uint offset, int size, ulong value)
    {
        if (offset >= ConfigSpace)
        {
            _control.WriteConfig(offset - ConfigSpace, size, value);
            return;
        }

        if (size != 4 || offset % 4 != 0)
        {
            _control.CountMistake();
            return;
        }

        var word = (uint)value;
        switch (offset)
        {
            case DeviceFeaturesSelect: _control.DeviceFeatureSelect = word; break;
            case DriverFeatures: _control.WriteDriverFeatures(word); break;
            case DriverFeaturesSelect: _control.DriverFeatureSelect = word; break;
            case QueueSelect: _control.QueueSelect = (ushort)Math.Min(word, ushort.MaxValue); break;
            case QueueSize: _control.SetQueueSize(word); break;
            case QueueReady when word == 1: _control.EnableQueue(); break;
            case QueueReady when word == 0: _control.ResetQueue(); break;
            case QueueReset when word == 1 && (_control.Negotiated & VirtioFeatures.RingReset) != 0: _control.ResetQueue(); break;
            case QueueNotify: _control.Notify(word); break;
            case InterruptAcknowledge:
                _s.Interrupts &= ~word;
                Update();
                break;
            case Status:
                _control.WriteStatus((VirtioStatus)(byte)word);
                if (_control.Status == VirtioStatus.None) _s = default;
                Update();
                break;
            case QueueDescriptorsLow or QueueDescriptorsHigh: _control.SetArea(QueueArea.Descriptors, offset == QueueDescriptorsHigh, word); break;
            case QueueDriverLow or QueueDriverHigh: _control.SetArea(QueueArea.Driver, offset == QueueDriverHigh, word); break;
            case QueueDeviceLow or QueueDeviceHigh: _control.SetArea(QueueArea.Device, offset == QueueDeviceHigh, word); break;
            default: _control.CountMistake(); break;
        }
    }

    /// <summary>Puts the window onto a bus, with a doorbell for each queue.</summary>
    /// <param name="bus">The machine's bus.</param>
    /// <param name="address">Guest-physical address of the window.</param>
    public void Map(SystemBus bus, ulong address)
    {
        ArgumentNullException.ThrowIfNull(bus);
        bus.Mmio.Map(address, WindowLength, this, this);
        for (var i = 0; i < _device.Queues.Count; i++)
        {
            var index = i;
            bus.AddDoorbell(new Doorbell(bus.Mmio, address + QueueNotify, 4, (ulong)index, () => _control.Ring(index)));
        }
    }

    /// <summary>Disposes the device if it is disposable.</summary>
    public void Dispose() => (_device as IDisposable)?.Dispose();

    /// <inheritdoc/>
    public void VisitState(StateVisitor visitor)
    {
        visitor.Field(1, ref _s.Interrupts);
        visitor.Part(2, _control);
    }

    /// <inheritdoc/>
    public void OnStateLoaded()
    {
        _s.Interrupts &= UsedBuffer | ConfigurationChange;
        Update();
    }

    bool IVirtioTransport.MayTransfer => true;

    void IVirtioTransport.SignalQueue(Virtqueue queue) => Raise(UsedBuffer);

    void IVirtioTransport.SignalConfig() => Raise(ConfigurationChange);

    private void Raise(uint cause)
    {
        _s.Interrupts |= cause;
        Update();
    }

    private void Update() => _irq.Level = _s.Interrupts != 0;
}
