// MultiProcessor Specification 1.4 (Intel 242016-006), chapter 4 "MP Configuration Table".
using System.Buffers.Binary;
using Vmm.Devices.Boards.Acpi;

namespace Vmm.Devices.Boards;

/// <summary>The tables for guests older than ACPI: the floating pointer structure and the configuration table.</summary>
internal static class MpTable
{
    private const byte Processor = 0, Bus = 1, IoApic = 2, IoInterrupt = 3, LocalInterrupt = 4;
    private const byte Interrupt = 0, Nmi = 1, ExtInt = 3;
    private const byte IsaBus = 0, IoApicId = 0, AllLocalApics = 0xFF, ApicVersion = 0x14, IoApicVersion = 0x20, SpecificationRevision = 4;
    private const int HeaderLength = 44;

    /// <summary>The floating pointer structure, 16 bytes.</summary>
    /// <param name="table">Where the configuration table is.</param>
    public static byte[] FloatingPointer(uint table)
    {
        var pointer = new byte[16];
        "_MP_"u8.CopyTo(pointer);
        BinaryPrimitives.WriteUInt32LittleEndian(pointer.AsSpan(4), table);
        pointer[8] = 1;
        pointer[9] = SpecificationRevision;
        pointer[10] = AcpiTable.Checksum(pointer);
        return pointer;
    }

    /// <summary>The configuration table.</summary>
    /// <param name="cpus">Number of processors; their local APIC ids are 0 and up.</param>
    public static byte[] Build(int cpus)
    {
        List<byte> table = [.. new byte[HeaderLength]];
        var entries = 0;
        for (var i = 0; i < cpus; i++)
        {
            // Family 6, with FPU, APIC and CMPXCHG8B; enabled, the first is the bootstrap processor.
            Add([Processor, (byte)i, ApicVersion, (byte)(i == 0 ? 3 : 1), 0x00, 0x06, 0x00, 0x00, 0x01, 0x03, 0x00, 0x00, 0, 0, 0, 0, 0, 0, 0, 0]);
        }

        Add([Bus, IsaBus, .. "ISA   "u8]);
        Add([IoApic, IoApicId, IoApicVersion, 1, .. Address((uint)BoardPorts.IoApic)]);
        for (byte irq = 0; irq < 16; irq++)
        {
            if (irq == 2) continue; // the cascade
            byte levelHigh = irq == BoardPorts.SciIrq ? (byte)0x0D : (byte)0;
            Add([IoInterrupt, Interrupt, levelHigh, 0, IsaBus, irq, IoApicId, irq == 0 ? (byte)2 : irq]);
        }

        Add([LocalInterrupt, ExtInt, 0, 0, IsaBus, 0, 0, 0]);
        Add([LocalInterrupt, Nmi, 0, 0, IsaBus, 0, AllLocalApics, 1]);
        byte[] bytes = [.. table];
        "PCMP"u8.CopyTo(bytes);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(4), (ushort)bytes.Length);
        bytes[6] = SpecificationRevision;
        "VMM     VIRTUAL MACH"u8.CopyTo(bytes.AsSpan(8));
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(34), (ushort)entries);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(36), BoardPorts.LocalApic);
        bytes[7] = AcpiTable.Checksum(bytes);
        return bytes;

        void Add(ReadOnlySpan<byte> entry)
        {
            foreach (var value in entry) table.Add(value);
            entries++;
        }
    }

    private static byte[] Address(uint address) => [(byte)address, (byte)(address >> 8), (byte)(address >> 16), (byte)(address >> 24)];
}
