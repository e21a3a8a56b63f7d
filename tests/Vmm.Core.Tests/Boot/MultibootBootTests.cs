using Vmm.Core.Boot;
using Vmm.Core.X86;
using Xunit;

namespace Vmm.Core.Tests.Boot;

/// <summary>Multiboot 1, against the specification's sections 3.2 and 3.3.</summary>
public sealed class MultibootBootTests
{
    [Fact]
    public void Elf_StartsAsTheSpecificationSays()
    {
        using var m = new BootMachine(extra: "not-for-multiboot");

        var s = m.Load(new MultibootBoot(MultibootFixture.Elf()) { CommandLine = "kernel arg" });

        Assert.Equal((0x100020UL, 0x2BADB002UL, 2UL, 0x11UL, 0UL, 0UL), (s.Rip, s.Gpr[0], s.Rflags, s.Cr0, s.Cr4, s.Efer));
        Assert.Equal(SegmentState.Code32(8), s.Segments[1]);
        for (var i = 0; i < 6; i++) Assert.True(i == 1 || s.Segments[i] == SegmentState.Data32(0x10));
        var info = s.Gpr[3];
        Assert.Equal(0x24DU, m.U32(info)); // memory, command line, modules, memory map, loader name
        Assert.Equal((639U, 255U << 10), (m.U32(info + 4), m.U32(info + 8)));
        Assert.Equal("kernel arg", m.Text(m.U32(info + 16)));
        Assert.Equal((0U, 0U), (m.U32(info + 20), m.U32(info + 24)));
        Assert.Equal("Vmm", m.Text(m.U32(info + 64)));
        Assert.Equal(72U, m.U32(info + 44));
        var map = m.U32(info + 48);
        Assert.Equal((20U, 0UL, 0x9FC00UL, 1U), (m.U32(map), m.U64(map + 4), m.U64(map + 12), m.U32(map + 20)));
        Assert.Equal((20U, 0x9FC00UL, 0x60400UL, 2U), (m.U32(map + 24), m.U64(map + 28), m.U64(map + 36), m.U32(map + 44)));
        Assert.Equal((20U, 0x100000UL, 0xFF00000UL, 1U), (m.U32(map + 48), m.U64(map + 52), m.U64(map + 60), m.U32(map + 68)));
    }

    [Fact]
    public void Raw_IsLoadedByItsAddressFields()
    {
        using var m = new BootMachine();
        m.Memory.TryFill(0x200000, 0x4000, 0xCC);
        var file = MultibootFixture.Raw();

        var s = m.Load(new MultibootBoot(file));

        Assert.Equal(0x200080UL, s.Rip);
        Assert.Equal(file[0x10..], m.Bytes(0x200000, 0x1000));
        Assert.Equal(new byte[0x3000], m.Bytes(0x201000, 0x3000));
    }

    [Fact]
    public void Raw_WithLoadEnd_LoadsThatMuch()
    {
        using var m = new BootMachine();
        m.Memory.TryFill(0x200000, 0x4000, 0xCC);

        m.Load(new MultibootBoot(MultibootFixture.Raw(loadEnd: 0x200200, bssEnd: 0)));

        Assert.NotEqual(0xCC, m.U8(0x2001FF));
        Assert.Equal(0xCC, m.U8(0x200200));
    }

    [Fact]
    public void Modules_GoAboveTheKernelInOrder()
    {
        using var m = new BootMachine();

        var info = m.Load(new MultibootBoot(MultibootFixture.Elf()) { Modules = [new("one", new byte[] { 1, 2 }, "x=y z"), new("two", ElfFixture.Pattern(0x1001)), new("three", new byte[1])] }).Gpr[3];

        Assert.Equal(3U, m.U32(info + 20));
        var list = m.U32(info + 24);
        Assert.Equal((0x103000U, 0x103002U, "one x=y z", 0U), (m.U32(list), m.U32(list + 4), m.Text(m.U32(list + 8)), m.U32(list + 12)));
        Assert.Equal((0x104000U, 0x105001U, "two"), (m.U32(list + 16), m.U32(list + 20), m.Text(m.U32(list + 24))));
        Assert.Equal((0x106000U, 0x106001U), (m.U32(list + 32), m.U32(list + 36)));
        Assert.Equal(ElfFixture.Pattern(0x1001), m.Bytes(0x104000, 0x1001));
    }

    [Fact]
    public void Header_AskingForWhatIsNotThere_IsRefused()
    {
        using var m = new BootMachine();
        m.Refuses(new MultibootBoot(MultibootFixture.Elf(flags: 4)), "video mode");
        m.Refuses(new MultibootBoot(MultibootFixture.Elf(flags: 0x8000)), "0x8000");
    }

    [Fact]
    public void Elf_Of64Bits_IsRefused()
    {
        using var m = new BootMachine();
        var code = ElfFixture.Pattern(0x1000);
        MultibootFixture.Header(code, 16, 0);
        m.Refuses(new MultibootBoot(new ElfFixture().Load(0x1000000, code, 0x1000).Build()), "64 bits", "objcopy");
    }

    [Fact]
    public void Problems_OfModulesAndCommandLine_AreToldTogether()
    {
        using var m = new BootMachine(2 << 20);
        var loader = new MultibootBoot(MultibootFixture.Elf())
        {
            CommandLine = "a\0b", Modules = [new("huge", new byte[4 << 20]), new("empty", default), new("bad", new byte[1], "x\ny")],
        };

        Assert.Equal(4, loader.Validate(m.Context).Count());
        m.Refuses(loader, "NUL", "huge: length", "empty: length", "bad: command line");
    }
}
