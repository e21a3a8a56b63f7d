using System.Collections.Concurrent;

namespace Vmm.Core.Devices;

/// <summary>
/// The door through which something from outside the machine (console bytes, packets, completions) reaches one device. An
/// item posted while the machine runs is delivered under the device's lock; while it is paused it waits. Items of one
/// machine are delivered one after another in the order they were posted. Any thread may post. What a delivery throws ends the
/// machine as <see cref="MachineExitKind.Failed"/>.
/// </summary>
/// <typeparam name="T">What comes in.</typeparam>
public sealed class Inlet<T>
{
    private readonly InletGate _gate;
    private readonly IDevice _device;
    private readonly Action<T> _deliver;
    private readonly Action _deliverNext;
    private readonly ConcurrentQueue<T> _items = new();
    private volatile bool _closed;

    internal Inlet(InletGate gate, IDevice device, Action<T> deliver)
    {
        (_gate, _device, _deliver) = (gate, device, deliver);
        _deliverNext = DeliverNext;
    }

    /// <summary>
    /// Hands an item in. Never blocks beyond the locks of the devices that take the items before it. Posted by the device's own
    /// code under its lock, it is delivered after that code has returned.
    /// </summary>
    /// <param name="item">The item; the device owns it from now on. Of a device that has left its machine it is dropped.</param>
    public void Post(T item)
    {
        if (_closed) return;
        _items.Enqueue(item);
        _gate.Post(_deliverNext, _device);
    }

    /// <summary>The device has left the machine: what waits and what is posted from now on is dropped.</summary>
    internal void Close() => _closed = true;

    private void DeliverNext()
    {
        lock (_device)
        {
            if (_items.TryDequeue(out var item) && !_closed) _deliver(item);
        }
    }
}
