using Vmm.Core.State;

namespace Vmm.Core.Devices;

/// <summary>
/// A device: it sees offsets and wires, never addresses or interrupt numbers; a board or the caller places it. Vmm holds
/// the lock of the device object itself (<c>lock (device)</c>) around every bus access, timer callback and inlet delivery,
/// so device code is written as if single-threaded; host-side methods of its own take the same lock.
/// A device that owns host resources also implements <see cref="IDisposable"/>; its machine disposes it.
/// </summary>
public interface IDevice : IStateful
{
    /// <summary>Puts the device into its power-on state. Called once before the guest runs.</summary>
    void Reset();
}
