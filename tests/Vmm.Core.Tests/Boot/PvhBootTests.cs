using Vmm.Core.Boot;
using Vmm.Core.X86;
using Xunit;

namespace Vmm.Core.Tests.Boot;

/// <summary>PVH, against Xen's docs/misc/pvh.pandoc and start_info.h.</summary>
public sealed class PvhBootTests
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Pvh_StartsAsTheAbiSays(bool is64Bit)
    {
        using var m = new BootMachine(rsdp: 0xE0000, extra: "dev=1");

        var s = m.Load(new PvhBoot(ElfFixture.Kernel(is64Bit, 0x1000123).Build()) { CommandLine = "root=x" });

        Assert.Equal((0x1000123UL, 2UL, 0x11UL, 0UL, 0UL), (s.Rip, s.Rflags, s.Cr0, s.Cr4, s.Efer));
        Assert.Equal(SegmentState.Code32(0x10), s.Segments[1]);
        foreach (var i in new[] { 0, 2, 3 }) Assert.Equal(SegmentState.Data32(0x18), s.Segments[i]);
        Assert.Equal((0UL, 0x67U, 0x8B), (s.Tr.Base, s.Tr.Limit, s.Tr.Attributes));
        var info = s.Gpr[3];
        Assert.Equal((0x336EC578U, 1U, 0U, 0U), (m.U32(info), m.U32(info + 4), m.U32(info + 8), m.U32(info + 12)));
        Assert.Equal(0UL, m.U64(info + 16));
        Assert.Equal("dev=1 root=x", m.Text(m.U64(info + 24)));
        Assert.Equal(0xE0000UL, m.U64(info + 32));
        Assert.Equal((3U, 0U), (m.U32(info + 48), m.U32(info + 52)));
        var map = m.U64(info + 40);
        Assert.Equal((0x100000UL, 0xFF00000UL, 1U, 0U), (m.U64(map + 48), m.U64(map + 56), m.U32(map + 64), m.U32(map + 68)));
        Assert.Equal(2U, m.U32(map + 40));
    }

    [Fact]
    public void Modules_FollowTheInitrd()
    {
        using var m = new BootMachine();
        byte[] initrd = [1, 2, 3], second = [4, 5];

        var info = m.Load(new PvhBoot(ElfFixture.Kernel(pvhEntry: 0x1000000).Build())
        {
            Initrd = initrd, Modules = [new BootModule("policy", second, "a=b"), new BootModule("bare", new byte[5000])],
        }).Gpr[3];

        Assert.Equal(3U, m.U32(info + 12));
        var list = m.U64(info + 16);
        Assert.Equal((3UL, 0UL), (m.U64(list + 8), m.U64(list + 16)));
        Assert.Equal(initrd, m.Bytes(m.U64(list), 3));
        Assert.Equal(second, m.Bytes(m.U64(list + 32), 2));
        Assert.Equal("policy a=b", m.Text(m.U64(list + 32 + 16)));
        Assert.Equal((5000UL, "bare"), (m.U64(list + 64 + 8), m.Text(m.U64(list + 64 + 16))));
        Assert.Equal(0UL, m.U64(list + 64) % 4096);
    }

    [Fact]
    public void CommandLine_OfManyKilobytes_IsWhole()
    {
        using var m = new BootMachine();
        var text = new string('y', 60000);
        var info = m.Load(new PvhBoot(ElfFixture.Kernel(pvhEntry: 0x1000000).Build()) { CommandLine = text }).Gpr[3];
        Assert.Equal(text, m.Text(m.U64(info + 24)));
    }

    [Fact]
    public void Kernel_WithoutTheNote_IsRefused()
    {
        using var m = new BootMachine();
        m.Refuses(new PvhBoot(ElfFixture.Kernel().Build()), "XEN_ELFNOTE_PHYS32_ENTRY", "CONFIG_PVH");
    }
}
