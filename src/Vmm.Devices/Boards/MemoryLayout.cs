// IBM PC/AT Technical Reference, "System memory map"; ACPI 6.5, 15 "System Address Map Interfaces".
using System.Collections.Immutable;
using Vmm.Core.Boot;
using Vmm.Core.Memory;
using Vmm.Devices.Pci;

namespace Vmm.Devices.Boards;

/// <summary>Where RAM is on a PC, and what of it the guest is told.</summary>
internal static class MemoryLayout
{
    /// <summary>RAM goes no higher than this before it goes on above 4 GiB: the rest is for devices.</summary>
    public const ulong DeviceHole = 0xC000_0000;

    /// <summary>Where RAM goes on.</summary>
    public const ulong HighRam = 1UL << 32;

    /// <summary>The extended BIOS data area: the last KiB of the first 640.</summary>
    public const ulong Ebda = 0x9FC00;

    /// <summary>The window of a display adapter.</summary>
    public const ulong VgaStart = 0xA0000, VgaEnd = 0xC0000;

    /// <summary>The system BIOS: ACPI tables are at its start.</summary>
    public const ulong Bios = 0xE0000;

    /// <summary>The upper half of the system BIOS: the MP table is at its start.</summary>
    public const ulong BiosUpper = 0xF0000;

    /// <summary>The end of the BIOS area.</summary>
    public const ulong OneMiB = 0x10_0000;

    /// <summary>Where the window of memory-mapped devices that PCI shares with nobody ends: the I/O APIC is next.</summary>
    public const ulong PciEnd = 0xFEC0_0000;

    // Where processors with the fewest address bits (39) still reach it.
    private const ulong HighPciStart = 1UL << 38;

    /// <summary>What is behind the PCI host bridge: configuration space first in the hole below 4 GiB, then memory; and as much again as lies below, above all RAM.</summary>
    public static PciWindows Pci(ImmutableArray<(ulong Start, ulong Length)> ram)
    {
        var high = HighPciStart;
        foreach (var (start, length) in ram)
        {
            while (high < start + length) high <<= 1;
        }

        return new PciWindows(DeviceHole, BoardPorts.PciIoStart, BoardPorts.PciIoEnd, DeviceHole + PciWindows.EcamLength, PciEnd, high, high << 1);
    }

    /// <summary>RAM of a size around the holes.</summary>
    public static ImmutableArray<(ulong Start, ulong Length)> Ram(ulong bytes, bool hasVgaHole)
    {
        var ranges = ImmutableArray.CreateBuilder<(ulong, ulong)>();
        Take(0, hasVgaHole ? VgaStart : DeviceHole);
        if (hasVgaHole) Take(VgaEnd, DeviceHole);
        Take(HighRam, 1UL << 52);
        return ranges.ToImmutable();

        void Take(ulong start, ulong end)
        {
            var length = Math.Min(bytes, end - start);
            if (length > 0) ranges.Add((start, length));
            bytes -= length;
        }
    }

    /// <summary>Whether there is RAM where firmware would put its tables; a machine with less than 1 MiB has none.</summary>
    public static bool HasBiosArea(GuestMemory memory) => memory.IsRam(Ebda, VgaStart - Ebda) && memory.IsRam(Bios, OneMiB - Bios);

    /// <summary>The memory map: the board's RAM less what firmware keeps below 1 MiB; other memory is reserved.</summary>
    public static ImmutableArray<MemoryMapEntry> Map(GuestMemory memory, ImmutableArray<(ulong Start, ulong Length)> ram, PciWindows? pci)
    {
        List<MemoryMapEntry> map = [];
        var hasBios = HasBiosArea(memory);
        foreach (var (start, length) in ram)
        {
            Add(start, Math.Min(start + length, hasBios ? Ebda : ulong.MaxValue), MemoryMapType.Ram);
            if (hasBios) Add(Math.Max(start, OneMiB), start + length, MemoryMapType.Ram);
        }

        if (hasBios)
        {
            Add(Ebda, VgaStart, MemoryMapType.Reserved);
            Add(Bios, OneMiB, MemoryMapType.Reserved);
        }

        foreach (var region in memory.Regions)
        {
            if (ram.Contains((region.Start, region.Length)) || (hasBios && region.End <= OneMiB)) continue;
            Add(region.Start, region.End, MemoryMapType.Reserved);
        }

        // A kernel trusts memory-mapped configuration space only where no memory can be.
        if (pci is not null) Add(pci.EcamBase, pci.EcamBase + PciWindows.EcamLength, MemoryMapType.Reserved);
        return [.. map.OrderBy(e => e.Start)];

        void Add(ulong start, ulong end, MemoryMapType type)
        {
            if (start < end) map.Add(new MemoryMapEntry(start, end - start, type));
        }
    }
}
