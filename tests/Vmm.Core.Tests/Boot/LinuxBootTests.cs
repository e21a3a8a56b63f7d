using System.Collections.Immutable;
using Vmm.Core.Boot;
using Vmm.Core.Memory;
using Vmm.Core.X86;
using Xunit;
using static Vmm.Core.Boot.LinuxSpec;

namespace Vmm.Core.Tests.Boot;

/// <summary>bzImage boots, against Documentation/arch/x86/boot.rst.</summary>
public sealed class LinuxBootTests
{
    [Fact]
    public void BzImage_With64BitEntry_StartsAsTheProtocolSays()
    {
        using var m = new BootMachine(rsdp: 0xE0000);
        var k = new BzImageFixture();

        var s = m.Load(new LinuxBoot(k.Bytes) { CommandLine = "console=ttyS0" });

        Assert.Equal(0x1000200UL, s.Rip);
        Assert.Equal(k.Code.ToArray(), m.Bytes(0x1000000, k.Code.Length));
        Assert.Equal(2UL, s.Rflags); // IF clear
        Assert.Equal(0x80000011UL, s.Cr0);
        Assert.Equal(0x20UL, s.Cr4);
        Assert.Equal(0x500UL, s.Efer); // LME and LMA
        Assert.Equal(SegmentState.Code64(0x10), s.Segments[1]);
        foreach (var i in new[] { 0, 2, 3 }) Assert.Equal(SegmentState.Data32(0x18), s.Segments[i]);
        Assert.Equal(0x00AF9B000000FFFFUL, m.U64(s.Gdt.Base + 0x10));
        Assert.Equal(0x00CF93000000FFFFUL, m.U64(s.Gdt.Base + 0x18));
        Assert.Equal(0x1F, s.Gdt.Limit);
        Assert.Equal(0xE0000UL, m.U64(s.Gpr[6] + AcpiRsdpAddr));
    }

    [Fact]
    public void BootParams_AreMadeFromNothingButTheHeader()
    {
        using var m = new BootMachine();
        var k = new BzImageFixture();
        k.U64(SetupData, 0xDEADBEEF000).U8(LoadFlags, 0xFF).U32(RamdiskImage, 0x1234).U32(RamdiskSize, 0x99).U32(CmdLinePtr, 7).U32(RealmodeSwtch, 9).U8(0x1EF, 0x55);

        var page = m.Load(new LinuxBoot(k.Bytes) { CommandLine = "a b" }).Gpr[6];

        Assert.Equal(0xFF, m.U8(page + TypeOfLoader));
        Assert.Equal(LoadedHigh, m.U8(page + LoadFlags) & (LoadedHigh | KaslrFlag | KeepSegments | CanUseHeap));
        Assert.Equal(0UL, m.U64(page + SetupData));
        Assert.Equal(0UL, m.U64(page + RamdiskImage)); // and its size
        Assert.Equal(0U, m.U32(page + RealmodeSwtch));
        Assert.Equal(0, m.U8(page + 0x1EF)); // sentinel
        Assert.Equal(0x1000000U, m.U32(page + Code32Start));
        Assert.Equal(HeaderMagic, m.U32(page + Header));
        Assert.Equal(0x20F, m.U16(page + ProtocolVersion));
        Assert.Equal("a b", m.Text(m.U32(page + CmdLinePtr)));
        Assert.Equal(new byte[0x1E0], m.Bytes(page, 0x1E0));
        Assert.Equal(3, m.U8(page + E820Entries));
        Assert.Equal((0UL, 0x9FC00UL, 1U), E820(m, page, 0));
        Assert.Equal((0x9FC00UL, 0x60400UL, 2U), E820(m, page, 1));
        Assert.Equal((0x100000UL, 0xFF00000UL, 1U), E820(m, page, 2));
        Assert.Equal(255U << 10, m.U32(page + AltMemK));
    }

    [Fact]
    public void PageTables_MapFourGiBToItself()
    {
        using var m = new BootMachine();
        var s = m.Load(new LinuxBoot(new BzImageFixture().Bytes));

        foreach (var address in new ulong[] { 0, 0x1000200, 0x7FFFF000, 0xFEE00000, 0xFFFFFFFF })
        {
            var pdpt = m.U64(s.Cr3 + (address >> 39 & 511) * 8);
            var directory = m.U64((pdpt & ~0xFFFUL) + (address >> 30 & 511) * 8);
            var entry = m.U64((directory & ~0xFFFUL) + (address >> 21 & 511) * 8);
            Assert.Equal(3UL, pdpt & 0xFFF);
            Assert.Equal(3UL, directory & 0xFFF);
            Assert.Equal(address & ~0x1FFFFFUL | 0x83, entry);
        }
    }

    [Fact]
    public void BzImage_Without64BitEntry_StartsIn32Bits()
    {
        using var m = new BootMachine();

        var s = m.Load(new LinuxBoot(new BzImageFixture().U16(XLoadFlags, 0).Bytes));

        Assert.Equal(0x1000000UL, s.Rip);
        Assert.Equal(0x11UL, s.Cr0);
        Assert.Equal((0UL, 0UL), (s.Cr4, s.Efer));
        Assert.Equal(SegmentState.Code32(0x10), s.Segments[1]);
        Assert.Equal(SegmentState.Data32(0x18), s.Segments[3]);
        Assert.Equal(HeaderMagic, m.U32(s.Gpr[6] + Header));
        Assert.Equal((0UL, 0UL, 0UL), (s.Gpr[5], s.Gpr[7], s.Gpr[3]));
    }

    [Fact]
    public void Initrd_GoesToTheHighestPlaceThatIsAllowed()
    {
        var initrd = new byte[0x12345];
        new Random(1).NextBytes(initrd);
        using var m = new BootMachine();
        using var limited = new BootMachine();

        var page = m.Load(new LinuxBoot(new BzImageFixture().Bytes) { Initrd = initrd }).Gpr[6];
        var limitedPage = limited.Load(new LinuxBoot(new BzImageFixture().U32(InitrdAddrMax, 0x37FFFFF).Bytes) { Initrd = initrd }).Gpr[6];

        Assert.Equal(0x10000000U - 0x13000, m.U32(page + RamdiskImage));
        Assert.Equal(0x12345U, m.U32(page + RamdiskSize));
        Assert.Equal(initrd, m.Bytes(0x10000000 - 0x13000, initrd.Length));
        Assert.Equal(0x3800000U - 0x13000, limited.U32(limitedPage + RamdiskImage));
    }

    [Fact]
    public void Initrd_KeepsClearOfTheKernelAndOfAcpiTables()
    {
        ImmutableArray<MemoryMapEntry> map =
            [new(0, 0x9FC00, MemoryMapType.Ram), new(1 << 20, 0x1900000 - (1 << 20), MemoryMapType.Ram), new(0x18F0000, 0x10000, MemoryMapType.Acpi)];
        using var m = new BootMachine(64 << 20, map);

        var page = m.Load(new LinuxBoot(new BzImageFixture().Bytes) { Initrd = new byte[0xF0000] }).Gpr[6];
        Assert.Equal(0x1800000U, m.U32(page + RamdiskImage));

        // One page more, and only the place below the kernel is left.
        page = m.Load(new LinuxBoot(new BzImageFixture().Bytes) { Initrd = new byte[0xF1000] }).Gpr[6];
        Assert.Equal(0x1000000U - 0xF1000, m.U32(page + RamdiskImage));
    }

    [Fact]
    public void Kernel_WithItsPlaceTaken_MovesUpAligned()
    {
        ImmutableArray<MemoryMapEntry> map =
            [new(0, 0x9FC00, MemoryMapType.Ram), new(1 << 20, 63 << 20, MemoryMapType.Ram), new(0x1100000, 0x1000, MemoryMapType.Reserved)];
        using var m = new BootMachine(64 << 20, map);

        var s = m.Load(new LinuxBoot(new BzImageFixture().Bytes));

        Assert.Equal(0x1200200UL, s.Rip);
        Assert.Equal(0x1200000U, m.U32(s.Gpr[6] + Code32Start));
    }

    [Fact]
    public void Kernel_ThatNoAlignedPlaceFits_TakesTheMinimumAlignment()
    {
        using var m = new BootMachine(64 << 20);

        var s = m.Load(new LinuxBoot(new BzImageFixture().U32(KernelAlignment, 0x8000000).Bytes));

        Assert.Equal(0x1000200UL, s.Rip);
        Assert.Equal(0x200000U, m.U32(s.Gpr[6] + KernelAlignment));
    }

    [Fact]
    public void Kernel_NotRelocatable_HasItsOwnPlaceOrNone()
    {
        using var m = new BootMachine();
        using var small = new BootMachine(16 << 20);
        var k = new BzImageFixture().U8(RelocatableKernel, 0).U32(KernelAlignment, 0);

        Assert.Equal(0x1000200UL, m.Load(new LinuxBoot(k.Bytes)).Rip);
        small.Refuses(new LinuxBoot(k.Bytes), "not relocatable", "0x1000000");
    }

    [Fact]
    public void MemoryMap_WithMoreThan128Entries_GoesOnInSetupData()
    {
        var map = BootMachine.DefaultMap(256 << 20).ToBuilder();
        for (var i = 0u; i < 200; i++) map.Add(new(0x100000000UL + i * 0x10000, 0x1000 + i, MemoryMapType.Reserved));
        using var m = new BootMachine(256 << 20, map.ToImmutable());

        var page = m.Load(new LinuxBoot(new BzImageFixture().Bytes)).Gpr[6];

        Assert.Equal(128, m.U8(page + E820Entries));
        var data = m.U64(page + SetupData);
        Assert.Equal((0UL, 1U, 75U * 20), (m.U64(data), m.U32(data + 8), m.U32(data + 12)));
        for (var i = 0; i < map.Count; i++)
        {
            var at = i < 128 ? page + E820Table + (uint)i * 20 : data + 16 + (uint)(i - 128) * 20;
            Assert.Equal((map[i].Start, map[i].Length, (uint)map[i].Type), (m.U64(at), m.U64(at + 8), m.U32(at + 16)));
        }
    }

    [Fact]
    public void CommandLine_HasTheMachinesPartFirst()
    {
        using var m = new BootMachine(extra: "virtio_mmio.device=4K@0xd0000000:5");

        var page = m.Load(new LinuxBoot(new BzImageFixture().Bytes) { CommandLine = "quiet" }).Gpr[6];

        Assert.Equal("virtio_mmio.device=4K@0xd0000000:5 quiet", m.Text(m.U32(page + CmdLinePtr)));
    }

    [Theory]
    [InlineData(2047)]
    [InlineData(4095)]
    [InlineData(65535)]
    public void CommandLine_AsLongAsTheKernelTakes_IsWhole(int length)
    {
        using var m = new BootMachine();
        var text = new string('x', length);

        var page = m.Load(new LinuxBoot(new BzImageFixture().U32(CmdlineSize, (uint)length).Bytes) { CommandLine = text }).Gpr[6];

        Assert.Equal(text, m.Text(m.U32(page + CmdLinePtr)));
    }

    [Fact]
    public void Structures_NeverOverlap()
    {
        using var m = new BootMachine();
        var s = m.Load(new LinuxBoot(new BzImageFixture().Bytes) { Initrd = new byte[12345], CommandLine = new string('c', 2000) });
        var page = s.Gpr[6];
        (ulong Start, ulong Length)[] ranges =
            [(page, 4096), (s.Cr3, 6 * 4096), (s.Gdt.Base, s.Gdt.Limit + 1u), (m.U32(page + CmdLinePtr), 2001), (0x1000000, 0x800000), (m.U32(page + RamdiskImage), 12345), (0, 0x1000), (0x9FC00, 0x60400)];

        foreach (var a in ranges)
        {
            foreach (var b in ranges) Assert.False(a != b && a.Start < b.Start + b.Length && b.Start < a.Start + a.Length, $"{a} and {b}");
        }
    }

    [Fact]
    public void TablesAndBootParams_LieBelowTheDecompressorsTrampoline()
    {
        // find_trampoline_placement in arch/x86/boot/compressed/pgtable_64.c: never below BIOS_START_MIN less two pages.
        const ulong TrampolineMin = 0x20000 - 0x2000;
        using var m = new BootMachine();

        var s = m.Load(new LinuxBoot(new BzImageFixture().U32(CmdlineSize, 65535).Bytes) { CommandLine = new string('c', 65535) });

        Assert.InRange(s.Cr3, 0x1000UL, TrampolineMin - 6 * 4096);
        Assert.InRange(s.Gpr[6], 0x1000UL, TrampolineMin - 4096);
        Assert.InRange(s.Gdt.Base, 0x1000UL, TrampolineMin - 4096);
    }

    [Fact]
    public void LowMemory_Missing_IsMadeUpForBelowFourGiB()
    {
        using var m = new BootMachine(map: [new(1 << 20, 255 << 20, MemoryMapType.Ram)]);

        var s = m.Load(new LinuxBoot(new BzImageFixture().Bytes));

        Assert.InRange(s.Cr3, 0x1800000UL, 0x10000000UL);
        Assert.Equal(HeaderMagic, m.U32(s.Gpr[6] + Header));
    }

    [Fact]
    public void Load_Twice_GivesTheSame()
    {
        using var m = new BootMachine();
        var loader = new LinuxBoot(new BzImageFixture().Bytes) { CommandLine = "x", Initrd = new byte[100] };
        var page = m.Load(loader).Gpr[6];
        var before = m.Bytes(page, 4096);
        m.Memory.TryFill(page, 4096, 0xCC);

        Assert.Equal(page, m.Load(loader).Gpr[6]);
        Assert.Equal(before, m.Bytes(page, 4096));
    }

    [Fact]
    public void Validate_TellsAllProblemsAtOnce()
    {
        using var m = new BootMachine(8 << 20, extra: "a");
        var loader = new LinuxBoot(new BzImageFixture().U64(PrefAddress, 0x100000).U32(InitSize, 0x100000).Bytes)
        {
            KernelName = "vmlinuz-test", InitrdName = "big.cpio", Initrd = new byte[16 << 20], CommandLine = "a\nb",
        };

        var problems = loader.Validate(m.Context).ToArray();

        Assert.Equal(2, problems.Length);
        Assert.StartsWith("vmlinuz-test: command line, character 3: ", problems[0], StringComparison.Ordinal);
        Assert.StartsWith("big.cpio: initrd_addr_max: ", problems[1], StringComparison.Ordinal);
        m.Refuses(loader, "line break");
    }

    [Fact]
    public void Memory_TooSmall_IsSaidSo()
    {
        using var m = new BootMachine(8 << 20);
        m.Refuses(new LinuxBoot(new BzImageFixture().Bytes), "init_size", "0x800000", "more memory");
    }

    private static (ulong Start, ulong Length, uint Type) E820(BootMachine m, ulong page, uint i)
    {
        var at = page + E820Table + i * 20;
        return (m.U64(at), m.U64(at + 8), m.U32(at + 16));
    }
}
