// IBM PC/AT Technical Reference, "I/O address map"; Intel 82093AA data sheet for the I/O APIC.
namespace Vmm.Devices.Boards;

/// <summary>Where the chips of a PC have always been: what both boards and their tables use.</summary>
internal static class BoardPorts
{
    public const ushort MasterPic = 0x20, SlavePic = 0xA0, Elcr = 0x4D0, Pit = 0x40, Speaker = 0x61, Keyboard = 0x60, KeyboardCommand = 0x64, Rtc = 0x70, Post = 0x80, SystemControl = 0x92;
    public const ushort AcpiPm = 0x600, Reset = 0xCF9, FwCfg = 0x510, FwCfgDma = 0x514;
    public const ushort PciAddress = 0xCF8, PciData = 0xCFC, PciPortCount = 4, PciHotPlug = 0x620;
    public const byte ResetValue = 0x06;
    public const ulong IoApic = 0xFEC0_0000;
    public const uint LocalApic = 0xFEE0_0000;

    /// <summary>The first of the four interrupts that PCI pins lead to.</summary>
    public const int FirstPciGsi = 20;

    /// <summary>The ports behind the PCI host bridge; below them are those of the board's own chips.</summary>
    public const uint PciIoStart = 0x1000, PciIoEnd = 0x1_0000;

    /// <summary>The general-purpose event that tells of PCI devices that come and go.</summary>
    public const int PciHotPlugEvent = 1;

    /// <summary>The system control interrupt of ACPI.</summary>
    public const int SciIrq = 9;

    /// <summary>Ports of the serial ports COM1 to COM4.</summary>
    public static ReadOnlySpan<ushort> Serial => [0x3F8, 0x2F8, 0x3E8, 0x2E8];

    /// <summary>IRQs of the serial ports COM1 to COM4.</summary>
    public static ReadOnlySpan<int> SerialIrq => [4, 3, 4, 3];
}
