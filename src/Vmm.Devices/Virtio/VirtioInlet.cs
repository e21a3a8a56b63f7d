using Vmm.Core.Boards;
using Vmm.Core.Devices;

namespace Vmm.Devices.Virtio;

/// <summary>
/// The door by which something from outside reaches a virtio device: an <see cref="Inlet{T}"/> of the machine, which holds back while it is
/// paused. A device that is used without a machine, in a test, takes its items at once.
/// </summary>
/// <typeparam name="T">What comes in.</typeparam>
public sealed class VirtioInlet<T> : IVirtioInlet
{
    private readonly VirtioControl _control;
    private readonly Action<T> _deliver;
    private Inlet<T>? _inlet;

    internal VirtioInlet(VirtioControl control, Action<T> deliver) => (_control, _deliver) = (control, deliver);

    internal bool IsConnected => _inlet is not null;

    /// <summary>Hands an item in. Any thread; see <see cref="Inlet{T}.Post"/>.</summary>
    /// <param name="item">The item; the device owns it from now on.</param>
    public void Post(T item)
    {
        if (_inlet is { } inlet) inlet.Post(item);
        else lock (_control.Gate) _deliver(item);
    }

    void IVirtioInlet.Connect(MachineContext? machine, IDevice device) => _inlet = machine?.CreateInlet(device, _deliver);
}
