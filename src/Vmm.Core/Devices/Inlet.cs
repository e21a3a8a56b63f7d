namespace Vmm.Core.Devices;

/// <summary>
/// The door through which something from outside the machine (console bytes, packets, completions) reaches one device. An
/// item posted while the machine runs is delivered under the device's lock; while it is paused it waits. Items of one
/// machine are delivered one after another in the order they were posted. Any thread may post.
/// </summary>
/// <typeparam name="T">What comes in.</typeparam>
public sealed class Inlet<T>
{
    private readonly InletGate _gate;
    private readonly IDevice _device;
    private readonly Action<T> _deliver;

    internal Inlet(InletGate gate, IDevice device, Action<T> deliver) => (_gate, _device, _deliver) = (gate, device, deliver);

    /// <summary>Hands an item in. Never blocks beyond the device's own lock.</summary>
    /// <param name="item">The item; the device owns it from now on.</param>
    public void Post(T item) => _gate.Post(() =>
    {
        lock (_device) _deliver(item);
    });
}
