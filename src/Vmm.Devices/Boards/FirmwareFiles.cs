// QEMU docs/specs/fw_cfg.rst and hw/acpi/bios-linker-loader.c (the "etc/table-loader" script); Phoenix/AMI CMOS memory map for memory sizes.
using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Text;
using Vmm.Core.Boot;
using Vmm.Devices.Boards.Acpi;
using Vmm.Devices.Chipset;

namespace Vmm.Devices.Boards;

/// <summary>What the board tells firmware by fw_cfg: processors, memory map, and ACPI tables with the script that puts them into memory.</summary>
internal static class FirmwareFiles
{
    private const string MemoryMap = "etc/e820", Rsdp = "etc/acpi/rsdp", Tables = "etc/acpi/tables", Loader = "etc/table-loader";
    private const int ScriptEntryLength = 128, FileNameLength = 56;
    private const uint Allocate = 1, AddPointer = 2, AddChecksum = 3;
    private const byte ZoneHigh = 1, ZoneFirmware = 2, RsdpAlignment = 16;

    public static void Fill(FwCfg device, ImmutableArray<MemoryMapEntry> map, int cpus, ulong ram, AcpiImage acpi)
    {
        device.SetItem(FwCfg.ProcessorCount, (ulong)cpus, 2);
        device.SetItem(FwCfg.MaximumProcessors, (ulong)cpus, 2);
        device.SetItem(FwCfg.RamSize, ram, 8);
        device.SetFile(MemoryMap, E820(map));
        device.SetFile(Rsdp, acpi.Bytes[..AcpiTables.RsdpLength]);
        device.SetFile(Tables, acpi.Bytes);
        device.SetFile(Loader, Script(acpi));
    }

    /// <summary>Memory sizes and processor count where firmware for PCs has looked for them since before there was an E820.</summary>
    public static void TellMemorySizes(Rtc146818 rtc, ImmutableArray<(ulong Start, ulong Length)> ram, int cpus)
    {
        var low = ram.Where(r => r.Start < MemoryLayout.HighRam).Select(r => r.Start + r.Length).DefaultIfEmpty().Max();
        var high = ram.Where(r => r.Start >= MemoryLayout.HighRam).Aggregate(0UL, (sum, r) => sum + r.Length);
        Put(0x15, 640, 2);
        Put(0x17, Math.Min(Above(low, MemoryLayout.OneMiB) >> 10, 0xFFFF), 2);
        Put(0x30, Math.Min(Above(low, MemoryLayout.OneMiB) >> 10, 0xFFFF), 2);
        Put(0x34, Math.Min(Above(low, 16 << 20) >> 16, 0xFFFF), 2);
        Put(0x5B, Math.Min(high >> 16, 0xFFFFFF), 3);
        Put(0x5F, (ulong)(cpus - 1), 1);

        static ulong Above(ulong end, ulong start) => end > start ? end - start : 0;

        void Put(byte index, ulong value, int bytes)
        {
            for (var i = 0; i < bytes; i++) rtc.SetMemory((byte)(index + i), (byte)(value >> (8 * i)));
        }
    }

    // Firmware takes RAM and reservations from here and adds what it keeps below 1 MiB itself.
    private static byte[] E820(ImmutableArray<MemoryMapEntry> map)
    {
        var bytes = new byte[map.Length * 20];
        for (var i = 0; i < map.Length; i++)
        {
            var entry = bytes.AsSpan(i * 20, 20);
            BinaryPrimitives.WriteUInt64LittleEndian(entry, map[i].Start);
            BinaryPrimitives.WriteUInt64LittleEndian(entry[8..], map[i].Length);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[16..], (uint)map[i].Type);
        }

        return bytes;
    }

    private static byte[] Script(AcpiImage acpi)
    {
        List<byte[]> script = [];
        script.Add(Entry(Allocate, Tables, AcpiTables.Alignment, [ZoneHigh]));
        script.Add(Entry(Allocate, Rsdp, RsdpAlignment, [ZoneFirmware]));
        foreach (var (offset, size) in acpi.Pointers)
        {
            var entry = Entry(AddPointer, FileOf(offset), 0, []);
            Encoding.ASCII.GetBytes(Tables, entry.AsSpan(4 + FileNameLength));
            BinaryPrimitives.WriteInt32LittleEndian(entry.AsSpan(4 + 2 * FileNameLength), offset);
            entry[8 + 2 * FileNameLength] = (byte)size;
            script.Add(entry);
        }

        foreach (var (offset, start, length) in acpi.Checksums)
        {
            var entry = Entry(AddChecksum, FileOf(offset), offset, []);
            BinaryPrimitives.WriteInt32LittleEndian(entry.AsSpan(8 + FileNameLength), start);
            BinaryPrimitives.WriteInt32LittleEndian(entry.AsSpan(12 + FileNameLength), length);
            script.Add(entry);
        }

        return [.. script.SelectMany(e => e)];

        // The RSDP is a file of its own, and the same bytes at the front of the tables' are not used.
        static string FileOf(int offset) => offset < AcpiTables.RsdpLength ? Rsdp : Tables;
    }

    private static byte[] Entry(uint command, string file, int number, ReadOnlySpan<byte> more)
    {
        var entry = new byte[ScriptEntryLength];
        BinaryPrimitives.WriteUInt32LittleEndian(entry, command);
        Encoding.ASCII.GetBytes(file, entry.AsSpan(4));
        BinaryPrimitives.WriteInt32LittleEndian(entry.AsSpan(4 + FileNameLength), number);
        more.CopyTo(entry.AsSpan(8 + FileNameLength));
        return entry;
    }
}
