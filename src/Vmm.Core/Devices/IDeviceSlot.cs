using Vmm.Core.Boards;

namespace Vmm.Core.Devices;

/// <summary>
/// The place of a device that may come and go while the guest runs. A bus with such places gives one to
/// <see cref="MachineContext.AddDevice(string, IDevice, IDeviceSlot?)"/>; when the guest has let go, the bus takes the device off itself and calls
/// <see cref="MachineContext.Ejected"/>.
/// </summary>
public interface IDeviceSlot
{
    /// <summary>Asks the guest to let go of the device; it may take its time, or never do it. Any thread.</summary>
    void RequestEject();

    /// <summary>Takes the request back, as far as the guest has not heard of it. Any thread.</summary>
    void WithdrawEject();

    /// <summary>Takes the device off its bus without asking. While no vCPU runs.</summary>
    void Detach();
}
