// PCI Local Bus Specification 3.0, 6.1-6.2 "Configuration Space", 6.8 "MSI and MSI-X"; PCI Express Base 5.0, 7.2.2 "ECAM".
namespace Vmm.Devices.Pci;

/// <summary>Offsets and bits of configuration space, by the names of the specification.</summary>
internal static class PciSpec
{
    /// <summary>Bytes of configuration space by ECAM; ports reach the first 256.</summary>
    public const int ConfigSize = 4096;

    public const int VendorId = 0x00, DeviceId = 0x02, Command = 0x04, Status = 0x06, RevisionId = 0x08, ClassCode = 0x09, CacheLineSize = 0x0C, LatencyTimer = 0x0D, HeaderType = 0x0E;
    public const int FirstBar = 0x10, BarCount = 6, EndOfBars = FirstBar + 4 * BarCount, SubsystemVendorId = 0x2C, SubsystemId = 0x2E, CapabilitiesPointer = 0x34;
    public const int InterruptLine = 0x3C, InterruptPin = 0x3D, FirstCapability = 0x40, EndOfCapabilities = 0x100;

    public const ushort IoSpace = 1 << 0, MemorySpace = 1 << 1, BusMaster = 1 << 2, ParityErrorResponse = 1 << 6, SerrEnable = 1 << 8, InterruptDisable = 1 << 10;
    public const ushort CommandWritable = IoSpace | MemorySpace | BusMaster | ParityErrorResponse | SerrEnable | InterruptDisable;
    public const ushort InterruptStatus = 1 << 3, CapabilitiesList = 1 << 4;
    public const byte MultiFunction = 0x80;

    public const byte BarIo = 0x1, Bar64 = 0x4, BarPrefetchable = 0x8;
    public const uint IoTypeBits = 0x3, MemoryTypeBits = 0xF;

    public const byte CapabilityMsi = 0x05, CapabilityVendorSpecific = 0x09, CapabilityMsiX = 0x11;

    /// <summary>The window that a message must hit to be an interrupt (Intel SDM vol. 3, 11.11.1).</summary>
    public const ulong MessageWindow = 0xFEE0_0000, MessageWindowMask = ~0xF_FFFFUL;
}
