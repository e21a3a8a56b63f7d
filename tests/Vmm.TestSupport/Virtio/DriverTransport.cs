using Vmm.Core.Buses;
using Vmm.Devices.Virtio;

namespace Vmm.TestSupport.Virtio;

/// <summary>The driver's side of a transport: registers by their meaning, over nothing but a bus.</summary>
public abstract class DriverTransport(SystemBus bus)
{
    public SystemBus Bus { get; } = bus;

    /// <summary>The windows that a hostile driver pokes at: first address and length.</summary>
    public abstract IReadOnlyList<(ulong Start, ulong Length)> Windows { get; }

    public abstract VirtioStatus Status { get; set; }

    public abstract int QueueSizeMaximum { get; }

    public abstract bool IsQueueReady { get; }

    /// <summary>Whether the queue that was reset still has chains with the device.</summary>
    public abstract bool IsQueueResetting { get; }

    public abstract ulong ConfigAddress { get; }

    public abstract uint ReadFeatures(uint select);

    public abstract void WriteFeatures(uint select, uint value);

    public abstract void SelectQueue(uint index);

    public abstract void SetQueueSize(uint size);

    public abstract void SetQueueAreas(ulong descriptors, ulong driver, ulong device);

    public abstract void EnableQueue();

    public abstract void ResetQueue();

    public abstract void Notify(uint index);

    /// <summary>Tells whether a queue's interrupt has come, or the configuration's (null), and takes it back.</summary>
    public abstract bool TakeInterrupt(int? queue);

    public uint ReadConfig(uint offset, int size) => (uint)Bus.Mmio.Read(ConfigAddress + offset, size);

    public void WriteConfig(uint offset, int size, ulong value) => Bus.Mmio.Write(ConfigAddress + offset, size, value);
}
