// ACPI 6.5, 5.2 "ACPI System Description Tables": RSDP, RSDT, XSDT, FADT, FACS, MADT; PCI Firmware Specification 3.3, 4.1.2 "MCFG".
using System.Buffers.Binary;
using Vmm.Devices.Chipset;
using Vmm.Devices.Pci;

namespace Vmm.Devices.Boards.Acpi;

/// <summary>The ACPI tables of a board, laid out from one address upwards.</summary>
internal static class AcpiTables
{
    /// <summary>Bytes of the RSDP, which is first in the image.</summary>
    public const int RsdpLength = 36;

    /// <summary>What the image is aligned to, in bytes: the FACS asks for it.</summary>
    public const int Alignment = 64;

    private const int RsdpFirstPart = 20, RsdpChecksumAt = 8, RsdtPointerAt = 16, XsdtPointerAt = 24, RsdpExtendedChecksumAt = 32, FacsLength = 64, TableHeaderLength = 36;

    /// <summary>Builds all tables as one image to be put at an address, where the RSDP comes first.</summary>
    /// <param name="address">Where it will be; a multiple of 64. Zero for addresses that are offsets.</param>
    /// <param name="cpus">Number of processors; their APIC ids are 0 and up.</param>
    /// <param name="keyboard">Whether there is a keyboard controller to be told of.</param>
    /// <param name="pci">What is behind the PCI host bridge; null where there is none.</param>
    /// <param name="dsdt">The DSDT.</param>
    public static AcpiImage Build(ulong address, int cpus, bool keyboard, PciWindows? pci, byte[] dsdt)
    {
        List<byte> image = [.. new byte[RsdpLength]];
        List<(int Offset, int Size)> pointers = [(RsdtPointerAt, 4), (XsdtPointerAt, 8)];
        List<(int Offset, int Start, int Length)> checksums = [(RsdpChecksumAt, 0, RsdpFirstPart), (RsdpExtendedChecksumAt, 0, RsdpLength)];
        var facsAt = Append(Facs());
        var dsdtAt = Append(dsdt);
        List<ulong> tables = [Append(Fadt(facsAt, dsdtAt, keyboard), (36, 4), (40, 4), (140, 8)), Append(Madt(cpus))];
        if (pci is not null) tables.Add(Append(new AcpiTable("MCFG", 1).U64(0).U64(pci.EcamBase).U16(0).U8(0).U8(0).U32(0).ToArray()));
        var rsdt = new AcpiTable("RSDT", 1);
        var xsdt = new AcpiTable("XSDT", 1);
        foreach (var table in tables)
        {
            rsdt.U32((uint)table);
            xsdt.U64(table);
        }

        var rsdtAt = Append(rsdt.ToArray(), [.. tables.Select((_, i) => (TableHeaderLength + 4 * i, 4))]);
        var xsdtAt = Append(xsdt.ToArray(), [.. tables.Select((_, i) => (TableHeaderLength + 8 * i, 8))]);
        byte[] bytes = [.. image];
        Rsdp((uint)rsdtAt, xsdtAt).CopyTo(bytes, 0);
        return new AcpiImage(bytes, [.. pointers], [.. checksums]);

        ulong Append(byte[] table, params ReadOnlySpan<(int Offset, int Size)> inside)
        {
            while (image.Count % Alignment != 0) image.Add(0);
            var at = image.Count;
            foreach (var (offset, size) in inside) pointers.Add((at + offset, size));
            if (inside.Length > 0) checksums.Add((at + AcpiTable.ChecksumAt, at, table.Length));
            image.AddRange(table);
            return address + (uint)at;
        }
    }

    private static byte[] Rsdp(uint rsdt, ulong xsdt)
    {
        var rsdp = new byte[RsdpLength];
        "RSD PTR "u8.CopyTo(rsdp);
        "VMM   "u8.CopyTo(rsdp.AsSpan(9));
        rsdp[15] = 2;
        BinaryPrimitives.WriteUInt32LittleEndian(rsdp.AsSpan(RsdtPointerAt), rsdt);
        BinaryPrimitives.WriteUInt32LittleEndian(rsdp.AsSpan(20), RsdpLength);
        BinaryPrimitives.WriteUInt64LittleEndian(rsdp.AsSpan(XsdtPointerAt), xsdt);
        rsdp[RsdpChecksumAt] = AcpiTable.Checksum(rsdp.AsSpan(0, RsdpFirstPart));
        rsdp[RsdpExtendedChecksumAt] = AcpiTable.Checksum(rsdp);
        return rsdp;
    }

    private static byte[] Facs()
    {
        var facs = new byte[FacsLength];
        "FACS"u8.CopyTo(facs);
        BinaryPrimitives.WriteUInt32LittleEndian(facs.AsSpan(4), FacsLength);
        facs[32] = 2;
        return facs;
    }

    private static byte[] Fadt(ulong facs, ulong dsdt, bool keyboard)
    {
        const ushort LegacyDevices = 1 << 0, KeyboardController = 1 << 1, NoVga = 1 << 2;
        const uint Wbinvd = 1 << 0, ProcessorC1 = 1 << 2, NoSleepButton = 1 << 5, NoFixedRtcWake = 1 << 6, TimerIs32Bit = 1 << 8, HasResetRegister = 1 << 10;
        const byte Byte = 1, Word = 2, DWord = 3;
        const ushort Events = BoardPorts.AcpiPm + (ushort)AcpiPm.EventBlock, Control = BoardPorts.AcpiPm + (ushort)AcpiPm.ControlBlock;
        const ushort Timer = BoardPorts.AcpiPm + (ushort)AcpiPm.TimerBlock, Gpe = BoardPorts.AcpiPm + (ushort)AcpiPm.GpeBlock;
        return new AcpiTable("FACP", 6)
            .U32((uint)facs).U32((uint)dsdt)
            .U8(0).U8(0).U16(BoardPorts.SciIrq) // no preferred profile
            .U32(0).U8(0).U8(0).U8(0).U8(0) // no SMI port: ACPI mode is always on
            .At(56).U32(Events).U32(0).U32(Control).U32(0).U32(0).U32(Timer).U32(Gpe).U32(0)
            .At(88).U8(4).U8(2).U8(0).U8(4).U8(4).U8(0).U8(0).U8(0)
            .At(96).U16(0x0FFF).U16(0x0FFF).U16(0).U16(0) // no C2, no C3
            .U8(0).U8(0).U8(0).U8(0).U8(Rtc146818.Century)
            .At(109).U16((ushort)(LegacyDevices | NoVga | (keyboard ? KeyboardController : 0))).U8(0)
            .At(112).U32(Wbinvd | ProcessorC1 | NoSleepButton | NoFixedRtcWake | TimerIs32Bit | HasResetRegister)
            .At(116).Port(BoardPorts.Reset, 8, Byte).U8(BoardPorts.ResetValue).U16(0).U8(3)
            .At(132).U64(0).U64(dsdt)
            .At(148).Port(Events, 32, Word).Zeros(12).Port(Control, 16, Word).Zeros(12).Zeros(12).Port(Timer, 32, DWord).Port(Gpe, 32, Byte).Zeros(12)
            .At(244).Zeros(24) // sleep registers are for hardware-reduced platforms
            .At(268).Bytes("VMM\0\0\0\0\0"u8)
            .At(276).ToArray();
    }

    private static byte[] Madt(int cpus)
    {
        const byte LocalApic = 0, IoApic = 1, Override = 2, LocalNmi = 4;
        const ushort AsTheBus = 0, LevelHigh = 0x0D;
        const byte AllProcessors = 0xFF;
        var madt = new AcpiTable("APIC", 5).U32(BoardPorts.LocalApic).U32(1); // there are 8259s as well
        for (var i = 0; i < cpus; i++) madt.U8(LocalApic).U8(8).U8((byte)i).U8((byte)i).U32(1);
        madt.U8(IoApic).U8(12).U8(0).U8(0).U32((uint)BoardPorts.IoApic).U32(0);
        madt.U8(Override).U8(10).U8(0).U8(0).U32(2).U16(AsTheBus);
        madt.U8(Override).U8(10).U8(0).U8(BoardPorts.SciIrq).U32(BoardPorts.SciIrq).U16(LevelHigh);
        madt.U8(LocalNmi).U8(6).U8(AllProcessors).U16(AsTheBus).U8(1);
        return madt.ToArray();
    }
}
