using Vmm.Core.Boards;
using Vmm.Core.Devices;

namespace Vmm.Devices.Virtio;

/// <summary>An inlet that is waiting for its device to be put into a machine.</summary>
internal interface IVirtioInlet
{
    void Connect(MachineContext? machine, IDevice device);
}
