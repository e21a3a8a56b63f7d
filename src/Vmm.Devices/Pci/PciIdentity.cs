namespace Vmm.Devices.Pci;

/// <summary>What a function says it is.</summary>
/// <param name="Vendor">Vendor id.</param>
/// <param name="Device">Device id.</param>
/// <param name="Class">The 24 bits of the class code: base class, subclass, programming interface, such as 0x010000 for a SCSI controller.</param>
/// <param name="Revision">Revision id.</param>
/// <param name="SubsystemVendor">Subsystem vendor id.</param>
/// <param name="Subsystem">Subsystem id.</param>
public readonly record struct PciIdentity(ushort Vendor, ushort Device, uint Class, byte Revision = 0, ushort SubsystemVendor = 0, ushort Subsystem = 0);
