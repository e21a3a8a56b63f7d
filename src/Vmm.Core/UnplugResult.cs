namespace Vmm.Core;

/// <summary>How an <see cref="VirtualMachine.UnplugAsync"/> went.</summary>
public enum UnplugResult
{
    /// <summary>The device is gone, and freed.</summary>
    Unplugged,

    /// <summary>The guest did not let go in time; the device is where it was.</summary>
    TimedOut,

    /// <summary>The machine ended first; the device is freed with it.</summary>
    MachineEnded,
}
