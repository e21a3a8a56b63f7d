// Virtio 1.3, 2 "Basic Facilities of a Virtio Device".
using Vmm.Core.Boards;
using Vmm.Core.State;
using Vmm.Devices.Virtio.Queues;

namespace Vmm.Devices.Virtio;

/// <summary>
/// A virtio device, whatever it is plugged into: derive from it, give id, features and configuration, and serve the queues in
/// <see cref="OnQueue"/>. Status, negotiation, rings and interrupts are the transport's. All of it runs under one lock,
/// <see cref="Gate"/>; methods of the device's own that the host calls take it too. See docs/writing-a-virtio-device.md. One that
/// owns host resources implements <see cref="IDisposable"/>; its machine disposes it.
/// </summary>
public abstract class VirtioDevice
{
    /// <summary>Makes a device.</summary>
    /// <param name="deviceId">Its id: virtio 1.3, 5 "Device Types".</param>
    /// <param name="queueCount">How many queues it has, up to <see cref="VirtqueueLimits.Queues"/>.</param>
    protected VirtioDevice(ushort deviceId, int queueCount)
    {
        DeviceId = deviceId;
        Control = new VirtioControl(this, queueCount);
        Fields = new OwnFields(this);
    }

    /// <summary>Its id: virtio 1.3, 5 "Device Types".</summary>
    public ushort DeviceId { get; }

    /// <summary>The name for messages: the type's, unless the device says better.</summary>
    public virtual string Name => GetType().Name;

    /// <summary>The class code of its PCI function, where it is one: 24 bits, base class first.</summary>
    public virtual uint PciClass => 0xFF0000;

    /// <summary>The features of its own that it offers, bits 0 to 23 and 50 to 63. The same as long as it is in a machine.</summary>
    public virtual ulong Features => 0;

    /// <summary>Bytes of its configuration structure, up to <see cref="VirtqueueLimits.ConfigBytes"/>.</summary>
    public virtual int ConfigLength => 0;

    /// <summary>The queues.</summary>
    public IReadOnlyList<Virtqueue> Queues => Control.Queues;

    /// <summary>How far the driver has come.</summary>
    public VirtioStatus Status => Control.Status;

    /// <summary>The features in force; none before driver and device have agreed.</summary>
    public ulong NegotiatedFeatures => Control.Negotiated;

    /// <summary>How often the guest has done what no driver may do. Any thread.</summary>
    public long Mistakes => Control.Mistakes;

    /// <summary>What made the device ask for a reset the last time; null if nothing has.</summary>
    public string? LastFault => Control.LastFault;

    internal VirtioControl Control { get; }

    internal IStateful Fields { get; }

    /// <summary>The lock around everything that Vmm calls: take it in methods that the host calls. It is another one once the device has its transport.</summary>
    protected object Gate => Control.Gate;

    /// <summary>The most descriptors that a queue shall have; the options may allow less.</summary>
    /// <param name="index">The queue's number.</param>
    public virtual int MaximumQueueSize(int index) => VirtqueueLimits.QueueSize;

    /// <summary>
    /// The driver has made something available, or may have. Take what there is: <see cref="Virtqueue.TryTake"/> until it returns false, and
    /// complete each chain, here or later. It runs on a vCPU's thread; do not block.
    /// </summary>
    /// <param name="index">The queue's number.</param>
    /// <param name="queue">The queue.</param>
    protected abstract void OnQueue(int index, Virtqueue queue);

    /// <summary>Fills in the configuration structure as it is now.</summary>
    /// <param name="config">Zeroed, <see cref="ConfigLength"/> bytes; little-endian.</param>
    protected virtual void ReadConfig(Span<byte> config) { }

    /// <summary>The driver writes the configuration structure.</summary>
    /// <param name="offset">The first byte, inside the structure as all of them are.</param>
    /// <param name="data">1, 2, 4 or 8 bytes.</param>
    /// <returns>False if that may not be written: it then counts as a mistake.</returns>
    protected virtual bool WriteConfig(int offset, ReadOnlySpan<byte> data) => false;

    /// <summary>Whether it works with a set of features, which is a part of what was offered.</summary>
    /// <param name="features">What the driver would like.</param>
    protected virtual bool AcceptFeatures(ulong features) => true;

    /// <summary>Features are agreed upon: <see cref="NegotiatedFeatures"/>.</summary>
    protected virtual void OnFeatures() { }

    /// <summary>The driver is set up. Queues with something in them are served right after.</summary>
    protected virtual void OnDriverReady() { }

    /// <summary>The driver, or the machine, has reset the device: back to power-on. Chains that it still has are to be completed, which then has no effect.</summary>
    protected virtual void OnReset() { }

    /// <summary>The driver has reset one queue; for chains of it the same holds.</summary>
    /// <param name="index">The queue's number.</param>
    protected virtual void OnQueueReset(int index) { }

    /// <summary>The device has its transport. The place to make timers, on the machine's clock with <see cref="Gate"/>.</summary>
    /// <param name="machine">The machine; null in a test without one.</param>
    protected virtual void OnConnected(MachineContext? machine) { }

    /// <summary>Names the fields of its own that the guest can observe, with tags of its own. Chains in flight are not among them: the queues save those.</summary>
    /// <param name="visitor">Reads or writes the fields.</param>
    protected virtual void VisitFields(StateVisitor visitor) { }

    /// <summary>Called after a load of its own fields: validate them, and recompute what follows from them.</summary>
    protected virtual void OnFieldsLoaded() { }

    /// <summary>Tells the driver that the configuration has changed. Under the lock.</summary>
    protected void NotifyConfigChanged() => Control.ConfigChanged();

    /// <summary>Counts something that no driver may do, but which the device can live with.</summary>
    protected void CountMistake() => Control.CountMistake();

    /// <summary>Makes a door for outside input. In the constructor.</summary>
    /// <typeparam name="T">What comes in.</typeparam>
    /// <param name="deliver">Takes an item, under the lock.</param>
    protected VirtioInlet<T> CreateInlet<T>(Action<T> deliver)
    {
        var inlet = new VirtioInlet<T>(Control, deliver);
        Control.Inlets.Add(inlet);
        return inlet;
    }

    internal void Run(Virtqueue queue) => OnQueue(queue.Index, queue);

    internal void FillConfig(Span<byte> config) => ReadConfig(config);

    internal bool TakeConfig(int offset, ReadOnlySpan<byte> data) => WriteConfig(offset, data);

    internal bool Accepts(ulong features) => AcceptFeatures(features);

    internal void FeaturesAgreed() => OnFeatures();

    internal void DriverReady() => OnDriverReady();

    internal void WasReset() => OnReset();

    internal void QueueWasReset(int index) => OnQueueReset(index);

    internal void Connected(MachineContext? machine) => OnConnected(machine);

    private sealed class OwnFields(VirtioDevice device) : IStateful
    {
        public void VisitState(StateVisitor visitor) => device.VisitFields(visitor);

        public void OnStateLoaded() => device.OnFieldsLoaded();
    }
}
