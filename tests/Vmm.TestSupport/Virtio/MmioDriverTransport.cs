using Vmm.Core.Buses;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Transport;

namespace Vmm.TestSupport.Virtio;

/// <summary>The driver's side of virtio-mmio.</summary>
public sealed class MmioDriverTransport(SystemBus bus, ulong address) : DriverTransport(bus)
{
    public override IReadOnlyList<(ulong Start, ulong Length)> Windows { get; } = [(address, VirtioMmio.WindowLength)];

    public override VirtioStatus Status { get => (VirtioStatus)Read(0x70); set => Write(0x70, (uint)value); }

    public override int QueueSizeMaximum => (int)Read(0x34);

    public override bool IsQueueReady => Read(0x44) != 0;

    public override bool IsQueueResetting => Read(0xC0) != 0;

    public override ulong ConfigAddress => address + 0x100;

    public override uint ReadFeatures(uint select)
    {
        Write(0x14, select);
        return Read(0x10);
    }

    public override void WriteFeatures(uint select, uint value)
    {
        Write(0x24, select);
        Write(0x20, value);
    }

    public override void SelectQueue(uint index) => Write(0x30, index);

    public override void SetQueueSize(uint size) => Write(0x38, size);

    public override void SetQueueAreas(ulong descriptors, ulong driver, ulong device)
    {
        foreach (var (register, area) in ((uint, ulong)[])[(0x80, descriptors), (0x90, driver), (0xA0, device)])
        {
            Write(register, (uint)area);
            Write(register + 4, (uint)(area >> 32));
        }
    }

    public override void EnableQueue() => Write(0x44, 1);

    public override void ResetQueue() => Write(0xC0, 1);

    public override void Notify(uint index) => Bus.Mmio.Write(address + 0x50, 4, index);

    public override bool TakeInterrupt(int? queue)
    {
        var bit = queue is null ? 2u : 1u;
        if ((Read(0x60) & bit) == 0) return false;
        Write(0x64, bit);
        return true;
    }

    public uint Read(uint register) => (uint)Bus.Mmio.Read(address + register, 4);

    public void Write(uint register, uint value) => Bus.Mmio.Write(address + register, 4, value);
}
