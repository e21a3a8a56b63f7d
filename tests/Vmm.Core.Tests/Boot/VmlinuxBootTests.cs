using Vmm.Core.Boot;
using Vmm.Core.X86;
using Xunit;
using static Vmm.Core.Boot.LinuxSpec;

namespace Vmm.Core.Tests.Boot;

/// <summary>ELF vmlinux by the 64-bit Linux boot protocol.</summary>
public sealed class VmlinuxBootTests
{
    [Fact]
    public void Vmlinux_IsLoadedByPhysicalAddressAndEnteredIn64Bits()
    {
        using var m = new BootMachine(rsdp: 0xE0010);
        m.Memory.TryFill(0x1003000, 0x10000, 0xCC);

        var s = m.Load(new LinuxBoot(ElfFixture.Kernel().Build()) { CommandLine = "panic=-1", Initrd = new byte[10] });

        Assert.Equal(0x1000000UL, s.Rip);
        Assert.Equal((0x80000011UL, 0x20UL, 0x500UL), (s.Cr0, s.Cr4, s.Efer));
        Assert.Equal(SegmentState.Code64(0x10), s.Segments[1]);
        Assert.Equal(ElfFixture.Pattern(0x3000), m.Bytes(0x1000000, 0x3000));
        Assert.Equal(ElfFixture.Pattern(0x234), m.Bytes(0x1003000, 0x234));
        Assert.Equal(new byte[0x10000 - 0x234], m.Bytes(0x1003234, 0x10000 - 0x234));
        var page = s.Gpr[6];
        Assert.Equal((HeaderMagic, BootFlagMagic, 0x20C, 0xFF), (m.U32(page + Header), m.U16(page + BootFlag), m.U16(page + ProtocolVersion), m.U8(page + TypeOfLoader)));
        Assert.Equal("panic=-1", m.Text(m.U32(page + CmdLinePtr)));
        Assert.Equal((0xFFFF000U, 10U), (m.U32(page + RamdiskImage), m.U32(page + RamdiskSize)));
        Assert.Equal(0xE0010UL, m.U64(page + AcpiRsdpAddr));
    }

    [Fact]
    public void Entry_GivenAsAVirtualAddress_IsTranslated()
    {
        using var m = new BootMachine();
        var elf = new ElfFixture { Entry = 0xFFFFFFFF81000040 }.Load(0x1000000, ElfFixture.Pattern(0x100), 0x100, 0xFFFFFFFF81000000);

        Assert.Equal(0x1000040UL, m.Load(new LinuxBoot(elf.Build())).Rip);
    }

    [Fact]
    public void CommandLine_LongerThanLinuxReads_IsRefusedNotCut()
    {
        using var m = new BootMachine();
        var kernel = ElfFixture.Kernel().Build();

        m.Load(new LinuxBoot(kernel) { CommandLine = new string('x', 2047) });
        Assert.Contains("2048 bytes", Assert.Single(new LinuxBoot(kernel) { CommandLine = new string('x', 2048) }.Validate(m.Context)), StringComparison.Ordinal);
    }

    [Fact]
    public void Elf_Of32Bits_IsRefused()
    {
        using var m = new BootMachine();
        m.Refuses(new LinuxBoot(ElfFixture.Kernel(is64Bit: false).Build()), "32-bit ELF", "PVH or Multiboot");
    }
}
