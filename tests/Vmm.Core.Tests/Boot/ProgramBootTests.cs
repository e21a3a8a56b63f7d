using Vmm.Core.Boot;
using Vmm.Core.X86;
using Xunit;

namespace Vmm.Core.Tests.Boot;

public sealed class ProgramBootTests
{
    private static readonly byte[] Program = [0x90, 0x90, 0xF4, 0xEB, 0xFD];

    [Fact]
    public void Long_StartsIn64BitModeOnItsOwnTables()
    {
        using var m = new BootMachine();

        var s = m.Load(new ProgramBoot(Program) { LoadAddress = 0x200000, Entry = 0x200002, StackPointer = 0x300000 });

        Assert.Equal(Program, m.Bytes(0x200000, 5));
        Assert.Equal((0x200002UL, 0x300000UL, 2UL), (s.Rip, s.Gpr[4], s.Rflags));
        Assert.Equal(SegmentState.Code64(0x10), s.Segments[1]);
        Assert.Equal(SegmentState.Data32(0x18), s.Segments[2]);
        Assert.Equal(0x80000033UL, s.Cr0);
        Assert.Equal(0x620UL, s.Cr4); // PAE, OSFXSR, OSXMMEXCPT
        Assert.Equal(0x00CF9B000000FFFFUL, m.U64(s.Gdt.Base + 0x08));
        Assert.Equal(0x00CFF3000000FFFFUL, m.U64(s.Gdt.Base + 0x20));
        Assert.Equal(0x00AFFB000000FFFFUL, m.U64(s.Gdt.Base + 0x28));
        Assert.Equal(0x37F, s.Xsave[0] | s.Xsave[1] << 8);
    }

    [Fact]
    public void Long_InSixtyFourKiB_FindsRoomForItsTables()
    {
        using var m = new BootMachine(64 << 10);

        var s = m.Load(new ProgramBoot(Program));

        Assert.Equal((0x8000UL, 0x8000UL), (s.Rip, s.Gpr[4]));
        Assert.InRange(s.Cr3, 0x9000UL, 0xA000UL);
    }

    [Fact]
    public void Long_InRing3_MayUsePagesAndPorts()
    {
        using var m = new BootMachine();

        var s = m.Load(new ProgramBoot(Program) { UserMode = true });

        Assert.Equal((0x2B, 3), (s.Segments[1].Selector, s.Segments[1].Dpl));
        Assert.Equal((0x23, 3), (s.Segments[2].Selector, s.Segments[2].Dpl));
        Assert.Equal(0x3002UL, s.Rflags);
        Assert.Equal(7UL, m.U64(s.Cr3) & 0xFFF);
    }

    [Fact]
    public void Protected_StartsFlatWithoutPaging()
    {
        using var m = new BootMachine();

        var s = m.Load(new ProgramBoot(Program) { Mode = ProgramMode.Protected });

        Assert.Equal((0x33UL, 0UL, 0UL), (s.Cr0, s.Cr3, s.Efer));
        Assert.Equal(SegmentState.Code32(0x10), s.Segments[1]);
        Assert.Equal(0x00AF9B000000FFFFUL, m.U64(s.Gdt.Base + 0x08));
    }

    [Theory]
    [InlineData(0x7C00, 0, 0x7C00)]
    [InlineData(0x12340, 0x1000, 0x2340)]
    [InlineData(0x90000, 0x9000, 0)]
    public void Real_SplitsItsAddressIntoSegmentAndOffset(ulong address, ushort segment, ulong ip)
    {
        using var m = new BootMachine();

        var s = m.Load(new ProgramBoot(Program) { Mode = ProgramMode.Real, LoadAddress = address, StackPointer = 0x7000 });

        Assert.Equal((segment, (ulong)segment << 4, ip), (s.Segments[1].Selector, s.Segments[1].Base, s.Rip));
        Assert.Equal((0, 0UL, 0x7000UL), (s.Segments[2].Selector, s.Segments[3].Base, s.Gpr[4]));
        Assert.Equal(0UL, s.Cr0 & 0x80000001);
    }

    [Fact]
    public void Faults_AreToldTogether()
    {
        using var m = new BootMachine();
        var loader = new ProgramBoot(Program) { Mode = ProgramMode.Real, LoadAddress = 0x9FBFE, Entry = 5, StackPointer = 0x10000, UserMode = true };

        Assert.Equal(4, loader.Validate(m.Context).Count());
        m.Refuses(loader, "load address 0x9fbfe", "entry 0x5", "stack pointer 0x10000", "no ring 3");
    }

    [Theory]
    [InlineData(ulong.MaxValue)]
    [InlineData(ulong.MaxValue - 2)]
    [InlineData(0xFFFFFFFEUL)]
    [InlineData(0x10000000UL - 4)]
    [InlineData(1UL << 52)]
    public void Address_OutsideRam_IsRefused(ulong address)
    {
        using var m = new BootMachine();
        m.Refuses(new ProgramBoot(Program) { LoadAddress = address }, "load address");
    }

    [Fact]
    public void Program_Empty_IsRefused()
    {
        using var m = new BootMachine();
        m.Refuses(new ProgramBoot(default), "empty");
    }
}
