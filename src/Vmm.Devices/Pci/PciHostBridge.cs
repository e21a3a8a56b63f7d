// Intel 82441FX data sheet (290549-001), 3.2 "PCI Configuration Space Mapped Registers"; QEMU docs/specs/pci-ids.rst for 1b36:0008.
namespace Vmm.Devices.Pci;

/// <summary>
/// Function 0 of device 0: the bridge between processors and bus. With shadow memory it says it is an 82441FX, whose programmable attribute
/// map (PAM) firmware expects before it unlocks the memory below 1 MiB; that memory is always RAM here, so the registers only remember.
/// </summary>
public sealed class PciHostBridge : PciFunction
{
    private const int Pam0 = 0x59;
    private const uint HostBridge = 0x060000;

    /// <summary>Makes the bridge.</summary>
    /// <param name="hasShadowMemory">Whether there is RAM below 1 MiB that firmware thinks it must unlock.</param>
    public PciHostBridge(bool hasShadowMemory)
        : base(hasShadowMemory ? Natoma : Generic)
    {
        if (hasShadowMemory) SetWritable(Pam0, [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
    }

    private static PciIdentity Natoma => new(0x8086, 0x1237, HostBridge, 2, 0x1AF4, 0x1100);

    private static PciIdentity Generic => new(0x1B36, 0x0008, HostBridge, 0, 0x1AF4, 0x1100);
}
