using System.Collections.Immutable;
using FsCheck;
using FsCheck.Xunit;
using Vmm.Core.Boot;
using Xunit;

namespace Vmm.Core.Tests.Boot;

public sealed class BootMemoryTests
{
    [Fact]
    public void FreeRam_IsTheMapsRamThatTheMachineHas()
    {
        using var m = new BootMachine(2 << 20, [new(0, 0x9FC00, MemoryMapType.Ram), new(1 << 20, 64 << 20, MemoryMapType.Ram)]);
        Assert.Equal("free RAM is 0x0-0x9fbff, 0x100000-0x1fffff", new BootMemory(m.Context).Describe());
        Assert.Equal(0x200000UL, new BootMemory(m.Context).RamEnd);
    }

    [Fact]
    public void Map_WithOverlapsAndWraps_CountsOnlyWhatIsRamAlone()
    {
        using var m = new BootMachine(1 << 20,
        [
            new(0x8000, 0x8000, MemoryMapType.Ram), new(0, 0x9000, MemoryMapType.Ram), new(0x4000, 0x1000, MemoryMapType.Acpi),
            new(0x20000, ulong.MaxValue, MemoryMapType.Ram), new(0x30000, 0, MemoryMapType.Reserved), new(0xF0000, ulong.MaxValue, MemoryMapType.Reserved), new(ulong.MaxValue, 2, MemoryMapType.Nvs),
        ]);
        Assert.Equal("free RAM is 0x0-0x3fff, 0x5000-0xffff, 0x20000-0xeffff", new BootMemory(m.Context).Describe());
    }

    [Fact]
    public void RootPointer_InRam_IsKeptClear()
    {
        using var m = new BootMachine(1 << 20, [new(0, 1 << 20, MemoryMapType.Ram)], rsdp: 0x80010);
        Assert.False(new BootMemory(m.Context).IsFree(0x80FFF, 1));
        Assert.True(new BootMemory(m.Context).IsFree(0x81000, 1));
    }

    [Fact]
    public void Allocate_HonoursEnds()
    {
        using var m = new BootMachine(1 << 20, [new(0, 1 << 20, MemoryMapType.Ram)]);
        var memory = new BootMemory(m.Context);
        Assert.True(memory.TryAllocate(0x1001, 0x1000, 0x1000, 0x80000, highest: true, "a", out var high));
        Assert.Equal(0x7E000UL, high);
        Assert.True(memory.TryAllocate(0x10, 0x1000, 0x1001, 0x80000, highest: false, "b", out var low));
        Assert.Equal(0x2000UL, low);
        Assert.False(memory.TryAllocate(0, 1, 0, ulong.MaxValue, false, "c", out _));
        Assert.False(memory.TryAllocate(ulong.MaxValue, 1, 0, ulong.MaxValue, false, "c", out _));
        Assert.False(memory.TryAllocate(1, 1UL << 63, 0, ulong.MaxValue, false, "c", out _));
        Assert.False(memory.TryReserve(0x7F000, 2, "c"));
        Assert.Contains("overlaps a at 0x7e000-0x7f000", memory.Obstacle(0x7F000, 2), StringComparison.Ordinal);
    }

    [Property(MaxTest = 300)]
    public void Allocations_AreAlignedInRamAndApart(byte[] map, uint[] requests)
    {
        var entries = map.Take(40).Select((b, i) => new MemoryMapEntry((ulong)(b & 0x7F) << 13, (ulong)(b >> 4) << 12 | (uint)i, (b & 3) == 3 ? MemoryMapType.Reserved : MemoryMapType.Ram)).ToImmutableArray();
        using var m = new BootMachine(1 << 20, entries);
        var memory = new BootMemory(m.Context);
        List<(ulong Start, ulong End)> taken = [];
        foreach (var request in requests)
        {
            var (length, alignment, highest) = (request % 0x3000, 1UL << (int)(request >> 8 & 15), (request & 0x10000) != 0);
            ulong min = request >> 3 & 0xFFFF, limit = 1 + (request >> 1 & 0xFFFFF);
            if (!memory.TryAllocate(length, alignment, min, limit, highest, "x", out var start)) continue;
            var end = start + length;
            Assert.True(start % alignment == 0 && start >= min && end <= limit && length > 0);
            Assert.DoesNotContain(taken, t => start < t.End && t.Start < end);
            Assert.DoesNotContain(entries, e => e.Type != MemoryMapType.Ram && e.Length > 0 && start < e.Start + e.Length && e.Start < end);
            for (var at = start; at < end; at += 0x400) Assert.Contains(entries, e => e.Type == MemoryMapType.Ram && e.Start <= at && at - e.Start < e.Length);
            taken.Add((start, end));
        }
    }
}
