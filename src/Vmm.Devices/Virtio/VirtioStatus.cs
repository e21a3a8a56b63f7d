// Virtio 1.3, 2.1 "Device Status Field".
namespace Vmm.Devices.Virtio;

/// <summary>The steps of a driver's initialisation of a device.</summary>
[Flags]
public enum VirtioStatus : byte
{
    /// <summary>Reset.</summary>
    None = 0,

    /// <summary>The guest has found the device.</summary>
    Acknowledge = 1,

    /// <summary>The guest knows how to drive it.</summary>
    Driver = 2,

    /// <summary>The driver is set up: the device may work.</summary>
    DriverOk = 4,

    /// <summary>Features are agreed upon.</summary>
    FeaturesOk = 8,

    /// <summary>The device has met with an error that only a reset mends; set by the device.</summary>
    NeedsReset = 64,

    /// <summary>The guest has given up on the device.</summary>
    Failed = 128,
}
