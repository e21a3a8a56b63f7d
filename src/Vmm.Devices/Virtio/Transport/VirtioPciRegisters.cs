// Virtio 1.3, 4.1.4.3 "Common configuration structure layout".
using Vmm.Core.Buses;

namespace Vmm.Devices.Virtio.Transport;

/// <summary>The common configuration structure. Fields are accessed whole; those of 64 bits as two halves, or whole.</summary>
internal sealed class VirtioPciRegisters(VirtioPci owner) : IIoHandler
{
    public const uint Length = 0x40;

    private const uint DeviceFeatureSelect = 0x00, DeviceFeature = 0x04, DriverFeatureSelect = 0x08, DriverFeature = 0x0C, ConfigMsixVector = 0x10, NumQueues = 0x12;
    private const uint DeviceStatus = 0x14, ConfigGeneration = 0x15, QueueSelect = 0x16, QueueSize = 0x18, QueueMsixVector = 0x1A, QueueEnable = 0x1C, QueueNotifyOff = 0x1E;
    private const uint QueueDesc = 0x20, QueueDriver = 0x28, QueueDevice = 0x30, QueueNotifyData = 0x38, QueueReset = 0x3A;

    private readonly VirtioControl _control = owner.Control;

    public ulong Read(uint offset, int size)
    {
        if (size == 8) return Read(offset, 4) | Read(offset + 4, 4) << 32;
        if (SizeOf(offset) == size) return ReadField(offset);

        // Not the driver's way, but there is nothing wrong in answering.
        ulong value = 0;
        for (var i = 0; i < size; i++)
        {
            var at = offset + (uint)i;
            var start = at;
            while (SizeOf(start) == 0 && start > 0) start--;
            value |= (ReadField(start) >> (int)(8 * (at - start)) & 0xFF) << (8 * i);
        }

        return value;
    }

    public void Write(uint offset, int size, ulong value)
    {
        if (size == 8 && offset is QueueDesc or QueueDriver or QueueDevice)
        {
            WriteField(offset, (uint)value);
            WriteField(offset + 4, (uint)(value >> 32));
        }
        else if (SizeOf(offset) == size)
        {
            WriteField(offset, (uint)value);
        }
        else
        {
            _control.CountMistake();
        }
    }

    private static int SizeOf(uint offset) => offset switch
    {
        DeviceFeatureSelect or DeviceFeature or DriverFeatureSelect or DriverFeature => 4,
        DeviceStatus or ConfigGeneration => 1,
        >= QueueDesc and < QueueNotifyData => offset % 4 == 0 ? 4 : 0,
        >= ConfigMsixVector and < Length => offset % 2 == 0 ? 2 : 0,
        _ => 0,
    };

    private ulong ReadField(uint offset)
    {
        var queue = _control.Selected;
        switch (offset)
        {
            case DeviceFeatureSelect: return _control.DeviceFeatureSelect;
            case DeviceFeature: return _control.ReadDeviceFeatures();
            case DriverFeatureSelect: return _control.DriverFeatureSelect;
            case DriverFeature: return _control.ReadDriverFeatures();
            case ConfigMsixVector: return owner.ConfigVector;
            case NumQueues: return (uint)owner.QueueCount;
            case DeviceStatus: return (ulong)_control.StatusOrDraining;
            case ConfigGeneration: return _control.ConfigGeneration & 0xFF;
            case QueueSelect: return _control.QueueSelect;
            case QueueSize: return queue?.Registers.Size ?? 0u;
            case QueueMsixVector: return queue?.Registers.Vector ?? VirtioPci.NoVector;
            case QueueEnable: return queue is { IsReady: true } ? 1u : 0;
            case QueueNotifyOff: return queue is null ? 0u : (uint)queue.Index;
            case QueueDesc or QueueDesc + 4: return _control.GetArea(QueueArea.Descriptors, offset != QueueDesc);
            case QueueDriver or QueueDriver + 4: return _control.GetArea(QueueArea.Driver, offset != QueueDriver);
            case QueueDevice or QueueDevice + 4: return _control.GetArea(QueueArea.Device, offset != QueueDevice);
            case QueueReset: return queue is { IsDraining: true } ? 1u : 0;
            default: return 0;
        }
    }

    private void WriteField(uint offset, uint value)
    {
        switch (offset)
        {
            case DeviceFeatureSelect: _control.DeviceFeatureSelect = value; break;
            case DriverFeatureSelect: _control.DriverFeatureSelect = value; break;
            case DriverFeature: _control.WriteDriverFeatures(value); break;
            case ConfigMsixVector: owner.ConfigVector = (ushort)value; break;
            case DeviceStatus: owner.WriteStatus((VirtioStatus)value); break;
            case QueueSelect: _control.QueueSelect = (ushort)value; break;
            case QueueSize: _control.SetQueueSize(value); break;
            case QueueMsixVector when _control.Selected is { } queue: queue.Registers.Vector = owner.Vector((ushort)value); break;
            case QueueEnable when value == 1: _control.EnableQueue(); break;
            case QueueDesc or QueueDesc + 4: _control.SetArea(QueueArea.Descriptors, offset != QueueDesc, value); break;
            case QueueDriver or QueueDriver + 4: _control.SetArea(QueueArea.Driver, offset != QueueDriver, value); break;
            case QueueDevice or QueueDevice + 4: _control.SetArea(QueueArea.Device, offset != QueueDevice, value); break;
            case QueueReset when value == 1 && (_control.Negotiated & VirtioFeatures.RingReset) != 0: _control.ResetQueue(); break;
            default: _control.CountMistake(); break;
        }
    }
}
