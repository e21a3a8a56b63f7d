using System.IO.Compression;
using Vmm.Core.Boot;
using Xunit;
using static Vmm.Core.Boot.LinuxSpec;

namespace Vmm.Core.Tests.Boot;

/// <summary>Malformed images, by the numbers of the project's list of hostile inputs: 68 bzImage, 69 ELF, 70 Multiboot, 71 bombs, 72 command lines.</summary>
public sealed class HostileImageTests : IDisposable
{
    private readonly BootMachine _m = new();

    public void Dispose() => _m.Dispose();

    // 68
    [Fact]
    public void BzImage_SetupSectsZero_MeansFour()
    {
        var k = new BzImageFixture(setupSects: 4).U8(SetupSects, 0);
        Assert.Equal(0x1000200UL, _m.Load(new LinuxBoot(k.Bytes)).Rip);
        Assert.Equal(k.Code[0], _m.U8(0x1000000));
    }

    [Fact]
    public void BzImage_SetupSects255_BeyondTheFile_IsRefused() => Refused(new BzImageFixture().U8(SetupSects, 255), "setup_sects", "0x20000");

    [Theory]
    [InlineData(0x401U)]
    [InlineData(0x10000000U)]
    [InlineData(uint.MaxValue)]
    public void BzImage_SysSizeBeyondTheFile_IsRefused(uint paragraphs) => Refused(new BzImageFixture().U32(SysSize, paragraphs), "syssize", "truncated");

    [Fact]
    public void BzImage_SysSizeZero_IsRefused() => Refused(new BzImageFixture().U32(SysSize, 0), "syssize");

    [Theory]
    [InlineData(0)]
    [InlineData(0x1FF)]
    [InlineData(0x206)]
    [InlineData(0x208)]
    [InlineData(0x263)]
    [InlineData(0x400)]
    public void BzImage_CutShort_IsRefused(int length) => Refused(new BzImageFixture().Cut(length), "kernel: ");

    [Fact]
    public void BzImage_CutAnywhere_IsRefused()
    {
        var whole = new BzImageFixture(codeSize: 0x400);
        for (var length = 0; length < whole.Bytes.Length - 15; length += 3) Assert.NotEmpty(new LinuxBoot(whole.Bytes.AsMemory(0, length)).Validate(_m.Context));
    }

    [Fact]
    public void BzImage_HeaderThatEndsEarly_IsRefused() => Refused(new BzImageFixture().U8(Jump + 1, 0x10), "jump", "0x212");

    [Fact]
    public void BzImage_HeaderThatEndsLate_IsCutAtItsPlaceInBootParams()
    {
        var k = new BzImageFixture().U8(Jump + 1, 0xFF);
        for (var i = 0x26C; i < 0x301; i++) k.U8(i, 0xEE);
        var page = _m.Load(new LinuxBoot(k.Bytes)).Gpr[6];
        Assert.Equal(0xEE, _m.U8(page + 0x28F));
        Assert.Equal(0, _m.U8(page + 0x290));
        Assert.Equal(0UL, _m.U64(page + E820Table));
    }

    [Theory]
    [InlineData(0x0209)]
    [InlineData(0x0000)]
    public void BzImage_OfAnOldProtocol_IsRefused(ushort version) => Refused(new BzImageFixture().U16(ProtocolVersion, version), "version", "2.10");

    [Fact]
    public void BzImage_NotLoadedHigh_IsRefused() => Refused(new BzImageFixture().U8(LoadFlags, 0), "loadflags", "zImage");

    [Fact]
    public void BzImage_CmdlineSizeZero_Means255()
    {
        var kernel = new BzImageFixture().U32(CmdlineSize, 0).Bytes;
        Assert.Empty(new LinuxBoot(kernel) { CommandLine = new string('x', 255) }.Validate(_m.Context));
        _m.Refuses(new LinuxBoot(kernel) { CommandLine = new string('x', 256) }, "command line", "256 bytes", "255");
    }

    [Fact]
    public void BzImage_CmdlineSizeHuge_AllowsOnlyWhatFits()
    {
        var kernel = new BzImageFixture().U32(CmdlineSize, uint.MaxValue).Bytes;
        _m.Refuses(new LinuxBoot(kernel) { CommandLine = new string('x', 70000) }, "command line", "65536");
    }

    [Theory]
    [InlineData(0U)]
    [InlineData(3U)]
    [InlineData(uint.MaxValue)]
    public void BzImage_AlignmentThatIsNoPowerOfTwo_IsRefused(uint alignment) => Refused(new BzImageFixture().U32(KernelAlignment, alignment), "kernel_alignment");

    [Fact]
    public void BzImage_AlignmentOf2GiBWithoutALesserOne_IsRefused() => Refused(new BzImageFixture().U32(KernelAlignment, 1U << 31).U8(MinAlignment, 0), "0x80000000");

    [Theory]
    [InlineData(uint.MaxValue)]
    [InlineData(0x80000000U)]
    public void BzImage_InitSizeBeyondRam_IsRefused(uint size) => Refused(new BzImageFixture().U32(InitSize, size), "init_size", "more memory");

    [Fact]
    public void BzImage_InitSizeSmallerThanItsCode_StillReservesTheCode()
    {
        var page = _m.Load(new LinuxBoot(new BzImageFixture(codeSize: 0x10000).U32(InitSize, 0).U32(InitrdAddrMax, 0x1010FFF).Bytes) { Initrd = new byte[0x1000] }).Gpr[6];
        Assert.Equal(0x1010000U, _m.U32(page + RamdiskImage));
    }

    [Theory]
    [InlineData(ulong.MaxValue)]
    [InlineData(0xFFFFFFFF00000000UL)]
    [InlineData(0xFFE00000UL)]
    public void BzImage_PreferredAddressOutsideRam_IsRefused(ulong address) => Refused(new BzImageFixture().U64(PrefAddress, address), "pref_address");

    [Theory]
    [InlineData(0U)]
    [InlineData(0xFFFFFU)]
    [InlineData(0x100FFEU)]
    public void Initrd_ThatTheKernelWouldNotReach_IsRefused(uint max) =>
        _m.Refuses(new LinuxBoot(new BzImageFixture().U32(InitrdAddrMax, max).Bytes) { Initrd = new byte[4096] }, "initrd: initrd_addr_max");

    [Fact]
    public void BzImage_XLoadFlagsThatPromiseMoreThanTheCodeHolds_AreRefused() => Refused(new BzImageFixture(codeSize: 0x200), "xloadflags", "0x200");

    // 69
    [Theory]
    [InlineData(32, ulong.MaxValue, "e_phoff")]
    [InlineData(32, 0x7FFFFFFFFFFFFFFFUL, "e_phoff")]
    [InlineData(32, 0x3340UL, "e_phoff")]
    public void Elf_HeaderTableOutsideTheFile_IsRefused(int at, ulong value, string place) => RefusedElf(f => ElfFixture.U64(f, at, value), place, "truncated");

    [Theory]
    [InlineData(0, "no program headers")]
    [InlineData(0xFFFF, "65534")]
    [InlineData(0xFFFE, "truncated")]
    public void Elf_HeaderCountThatLies_IsRefused(ushort count, string words) => RefusedElf(f => ElfFixture.U16(f, 56, count), "e_phnum", words);

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(55)]
    public void Elf_HeaderSizeTooSmall_IsRefused(ushort size) => RefusedElf(f => ElfFixture.U16(f, 54, size), "e_phentsize");

    [Theory]
    [InlineData(8, 0x100000UL)]
    [InlineData(8, ulong.MaxValue)]
    [InlineData(8, ulong.MaxValue - 0x2FFF)]
    [InlineData(32, ulong.MaxValue)]
    [InlineData(32, 0x100000UL)]
    public void Elf_SegmentOutsideTheFile_IsRefused(int field, ulong value) => RefusedElf(f => ElfFixture.U64(f, 64 + field, value), "program header 0, p_offset and p_filesz", "truncated");

    [Fact]
    public void Elf_MemorySizeBelowFileSize_IsRefused() => RefusedElf(f => ElfFixture.U64(f, 64 + 40, 0x2FFF), "program header 0, p_memsz");

    [Theory]
    [InlineData(ulong.MaxValue, "2^64")]
    [InlineData(ulong.MaxValue - 0x2FFE, "2^64")]
    [InlineData(0UL, "below 0x100000")]
    [InlineData(0xFEE00000UL, "free RAM is")]
    [InlineData(0x10000000UL - 0x2FFF, "free RAM is")]
    [InlineData(0x1001000UL, "overlaps program header")]
    public void Elf_PhysicalAddressThatCannotBe_IsRefused(ulong address, string words) => RefusedElf(f => ElfFixture.U64(f, 64 + 24, address), "p_paddr", words);

    [Theory]
    [InlineData(ulong.MaxValue)]
    [InlineData(0x10000000000000UL)]
    [InlineData(0xFFFFFFFFUL)]
    public void Elf_MemorySizeHuge_IsRefused(ulong size) => RefusedElf(f => ElfFixture.U64(f, 64 + 40, size), "program header 0");

    [Theory]
    [InlineData(0UL)]
    [InlineData(0xFFFFFUL)]
    [InlineData(0x1013000UL)]
    [InlineData(ulong.MaxValue)]
    public void Elf_EntryOutside_IsRefused(ulong entry)
    {
        var file = ElfFixture.Kernel().Build();
        ElfFixture.U64(file, 24, entry);
        _m.Refuses(new LinuxBoot(file), "e_entry");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(5)]
    [InlineData(9)]
    public void Pvh_NoteOfAWrongSize_IsRefused(int size) =>
        _m.Refuses(new PvhBoot(ElfFixture.Kernel().Note("Xen\0", 18, new byte[size]).Build()), "XEN_ELFNOTE_PHYS32_ENTRY", $"{size} bytes");

    [Theory]
    [InlineData(0)]
    [InlineData(4)]
    public void Pvh_NoteThatReachesPastItsSegment_IsRefused(int field)
    {
        var file = ElfFixture.Kernel(pvhEntry: 0x1000000).Build();
        var note = file.AsSpan().IndexOf("Xen\0"u8) - 12;
        foreach (var size in new[] { uint.MaxValue, 0xFFFFFFFDU, 0x80000000U, 0x1000U })
        {
            ElfFixture.U32(file, note + field, size);
            _m.Refuses(new PvhBoot(file), "note at 0x1c");
        }
    }

    [Theory]
    [InlineData(0U)]
    [InlineData(0xFFFFFFFFU)]
    [InlineData(0x1013000U)]
    public void Pvh_EntryOutside_IsRefused(uint entry) => _m.Refuses(new PvhBoot(ElfFixture.Kernel(pvhEntry: entry).Build()), "entry point");

    [Fact]
    public void Pvh_EntryAboveFourGiB_IsRefused() =>
        _m.Refuses(new PvhBoot(ElfFixture.Kernel().Note("Xen\0", 18, BitConverter.GetBytes(0x100001000000UL)).Build()), "below 4 GiB");

    [Fact]
    public void Elf32_SegmentThatPasses32Bits_IsRefused()
    {
        var file = MultibootFixture.Elf();
        ElfFixture.U32(file, 52 + 12, 0xFFFFF000);
        _m.Refuses(new MultibootBoot(file), "2^32");
    }

    [Fact]
    public void Elf_WithThousandsOfBadSegments_TellsAFew()
    {
        var elf = new ElfFixture();
        for (var i = 0; i < 120; i++) elf.Load(0xF000000000 + (ulong)i, [1], 1);
        Assert.InRange(new LinuxBoot(elf.Build()).Validate(_m.Context).Count(), 16, 17);
        for (var i = 0; i < 1000; i++) elf.Load(0x1000000 + (ulong)i, [1], 1);
        _m.Refuses(new LinuxBoot(elf.Build()), "more than 128");
    }

    // 70
    [Theory]
    [InlineData(0x200030U, 0x200031U, 0U, 0U, "load_addr")]
    [InlineData(0x200041U, 0x200000U, 0U, 0U, "0x41 bytes above load_addr")]
    [InlineData(0xFFFFFFFFU, 0U, 0U, 0U, "header_addr")]
    [InlineData(0x200030U, 0x200000U, 0x1FFFFFU, 0U, "load_end_addr")]
    [InlineData(0x200030U, 0x200000U, 0x200000U, 0U, "nothing to load")]
    [InlineData(0x200030U, 0x200000U, 0x201001U, 0U, "0x1001 bytes")]
    [InlineData(0x200030U, 0x200000U, 0xFFFFFFFFU, 0U, "load_end_addr")]
    [InlineData(0x200030U, 0x200000U, 0U, 0x200FFFU, "bss_end_addr")]
    [InlineData(0x200030U, 0x200000U, 0U, 0xFFFFFFFFU, "cannot be loaded")]
    [InlineData(0x10000030U, 0x10000000U, 0U, 0U, "cannot be loaded")]
    [InlineData(0x9FC30U, 0x9FC00U, 0U, 0U, "cannot be loaded")]
    [InlineData(0xFFFFF040U, 0xFFFFF000U, 0U, 0U, "4 GiB")]
    public void Multiboot_AddressesThatCannotBe_AreRefused(uint headerAddr, uint load, uint loadEnd, uint bssEnd, string words) =>
        _m.Refuses(new MultibootBoot(MultibootFixture.Raw(headerAddr, load, loadEnd, bssEnd, entry: load + (load == 0xFFFFF000 ? 0 : 0x10u))), words);

    [Fact]
    public void Multiboot_LoadedFromBeforeTheHeader_MayNotStartBeforeTheFile() =>
        _m.Refuses(new MultibootBoot(MultibootFixture.Raw(headerAddr: 0x200041)), "before the file");

    [Theory]
    [InlineData(0U)]
    [InlineData(0x1FFFFFU)]
    [InlineData(0x204000U)]
    public void Multiboot_EntryOutside_IsRefused(uint entry) => _m.Refuses(new MultibootBoot(MultibootFixture.Raw(entry: entry)), "entry_addr");

    [Fact]
    public void Multiboot_HeaderCutOrWithABadChecksum_IsRefused()
    {
        _m.Refuses(new MultibootBoot(MultibootFixture.Raw().AsMemory(0, MultibootFixture.RawHeader + 20)), "address fields", "truncated");
        var file = MultibootFixture.Raw();
        file[MultibootFixture.RawHeader + 8]++;
        _m.Refuses(new MultibootBoot(file), "checksum");
        _m.Refuses(new MultibootBoot(new byte[8192 + 12]), "checksum");
        _m.Refuses(new MultibootBoot(default), "checksum");
    }

    // 71
    [Fact]
    public void Initrd_ThatIsACompressionBomb_IsHandedOverAsItIs()
    {
        using var buffer = new MemoryStream();
        using (var gzip = new GZipStream(buffer, CompressionLevel.SmallestSize))
        {
            var zeros = new byte[1 << 20];
            for (var i = 0; i < 64; i++) gzip.Write(zeros);
        }

        var bomb = buffer.ToArray();
        var before = GC.GetAllocatedBytesForCurrentThread();
        var page = _m.Load(new LinuxBoot(new BzImageFixture().Bytes) { Initrd = bomb }).Gpr[6];

        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
        Assert.Equal(bomb, _m.Bytes(_m.U32(page + RamdiskImage), bomb.Length));
        _m.State.SetPowerOn();
        Assert.Contains("gzip", Assert.Single(new VirtualMachineBuilder().WithKernel(bomb).Loader!.Validate(_m.Context)), StringComparison.Ordinal);
    }

    // 72
    [Theory]
    [InlineData("a\0b", "NUL")]
    [InlineData("a\nb", "line break")]
    [InlineData("a\r\nb", "line break")]
    [InlineData("\n", "line break")]
    public void CommandLine_WithWhatWouldCutIt_IsRefused(string text, string word)
    {
        _m.Refuses(new LinuxBoot(new BzImageFixture().Bytes) { CommandLine = text }, "command line, character", word);
        _m.Refuses(new LinuxBoot(ElfFixture.Kernel().Build()) { CommandLine = text }, word);
        _m.Refuses(new PvhBoot(ElfFixture.Kernel(pvhEntry: 0x1000000).Build()) { CommandLine = text }, word);
        _m.Refuses(new MultibootBoot(MultibootFixture.Elf()) { CommandLine = text }, word);
        _m.Context = _m.Context with { ExtraCommandLine = text };
        _m.Refuses(new LinuxBoot(new BzImageFixture().Bytes), word);
    }

    [Fact]
    public void CommandLine_IsCountedInBytesAndWithTheMachinesPart()
    {
        _m.Refuses(new LinuxBoot(new BzImageFixture().Bytes) { CommandLine = new string('ä', 1024) }, "2048 bytes", "2047");
        _m.Context = _m.Context with { ExtraCommandLine = "dev" };
        _m.Refuses(new LinuxBoot(new BzImageFixture().Bytes) { CommandLine = new string('x', 2044) }, "2048 bytes (4 of them added by the machine");
    }

    [Fact]
    public void CommandLine_OfAMegabyte_IsRefusedByAll()
    {
        var text = new string('x', 1 << 20);
        _m.Refuses(new LinuxBoot(new BzImageFixture().Bytes) { CommandLine = text }, "1048576 bytes");
        _m.Refuses(new PvhBoot(ElfFixture.Kernel(pvhEntry: 0x1000000).Build()) { CommandLine = text }, "1048576 bytes");
        _m.Refuses(new MultibootBoot(MultibootFixture.Elf()) { Modules = [new("m", new byte[1], text)] }, "1048578 bytes");
    }

    [Fact]
    public void MemoryMap_WithoutRam_IsRefusedByAll()
    {
        _m.Context = _m.Context with { MemoryMap = [] };
        _m.Refuses(new LinuxBoot(new BzImageFixture().Bytes), "no RAM is free");
        _m.Refuses(new LinuxBoot(ElfFixture.Kernel().Build()), "no RAM is free");
        _m.Refuses(new PvhBoot(ElfFixture.Kernel(pvhEntry: 0x1000000).Build()), "no RAM is free");
        _m.Refuses(new MultibootBoot(MultibootFixture.Elf()), "no RAM is free");
        _m.Refuses(new ProgramBoot(new byte[1]), "no RAM is free");
    }

    private void Refused(BzImageFixture k, params string[] words) => _m.Refuses(new LinuxBoot(k.Bytes), words);

    private void RefusedElf(Action<byte[]> damage, params string[] words)
    {
        var file = ElfFixture.Kernel(pvhEntry: 0x1000000).Build();
        damage(file);
        _m.Refuses(new LinuxBoot(file), words);
        if (!words.Contains("below 0x100000")) _m.Refuses(new PvhBoot(file), words);
    }
}
