using Iced.Intel;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Real mode (Intel SDM vol. 3, 22.1).</summary>
public abstract class RealModeTests<TEngine> where TEngine : IEngine
{
    [Fact]
    public void Interrupt_GoesThroughTheVectorTableAndBack()
    {
        using var guest = new SystemGuest<TEngine>(16, a => { a.sti(); a.@int(0x42); a.mov(bx, 5); })
            .Handle(0x42, a => { a.pushf(); a.pop(cx); a.mov(ax, 7); a.iret(); });
        guest.RunToEnd();
        Assert.Equal((7UL, 5UL), (guest[0], guest[3]));
        Assert.Equal((0UL, 0x200UL), (guest[1] & 0x200, guest.State.Rflags & 0x200));
        Assert.Equal(0x7000UL, guest[4]);
    }

    [Fact]
    public void Word_AcrossTheSegmentEnd_IsProtectionFault()
    {
        using var guest = new SystemGuest<TEngine>(16, a => a.mov(ax, __word_ptr[bx]));
        guest[3] = 0xFFFF;
        Assert.Equal(new Trap(13, 0, SystemGuest.Start), guest.RunToTrap());
    }

    [Fact]
    public void Offset_Wraps_AtSixtyFourKilobytes()
    {
        using var guest = new SystemGuest<TEngine>(16, a => a.mov(al, __byte_ptr[bx + si]));
        guest.Write<byte>(0x6100, 0x5A);
        (guest[3], guest[6]) = (0xFF00, 0x6200);
        guest.RunToEnd();
        Assert.Equal(0x5AUL, guest[0]);
    }

    [Fact]
    public void Stack_Wraps_FromZeroToTheTop()
    {
        using var guest = new SystemGuest<TEngine>(16, a => a.push(ax));
        (guest[0], guest[4]) = (0x1234, 0);
        guest.State.Segments[2] = SegmentState.RealMode(0x1000);
        guest.RunToEnd();
        Assert.Equal((0xFFFEUL, (ushort)0x1234), (guest[4], guest.Read<ushort>(0x1FFFE)));
    }

    [Fact]
    public void UnrealMode_LimitSurvivesARealModeLoad()
    {
        using var guest = new SystemGuest<TEngine>(16, a => { a.xor(ax, ax); a.mov(ds, ax); a.mov(eax, __dword_ptr[ebx]); });
        guest.State.Segments[3] = SegmentState.RealMode(0x100) with { Limit = uint.MaxValue, Attributes = 0x8093 };
        guest.Write(0x123456, 0xCAFEF00DU);
        guest[3] = 0x123456;
        guest.RunToEnd();
        Assert.Equal(0xCAFEF00DUL, guest[0]);
    }

    [Fact]
    public void ProtectionSwitchedOn_SegmentsKeepWorkingUntilTheyAreLoaded()
    {
        using var guest = new SystemGuest<TEngine>(16, a => { a.mov(eax, cr0); a.or(al, 1); a.mov(cr0, eax); a.mov(ebx, __dword_ptr[0x6000]); });
        guest.Write(0x6000, 0xCAFEF00DU);
        guest.RunToEnd();
        Assert.Equal(0xCAFEF00DUL, guest[3]);
    }

    [Fact]
    public void Vector_BeyondTheTable_IsProtectionFault()
    {
        using var guest = new SystemGuest<TEngine>(16, a => a.@int(0x42));
        guest.State.Idt = new DescriptorTable(0, 0x41 * 4 + 3);
        Assert.Equal(new Trap(13, 0, SystemGuest.Start), guest.RunToTrap());
    }

    [Fact]
    public void FarCallAndReturn_KeepSegmentAndStack()
    {
        using var guest = new SystemGuest<TEngine>(16, (a, _) => { a.db(0x9A, 0x00, 0x00, 0x00, 0x70); a.mov(bx, 5); });
        guest.Place(0x70000, 16, (a, _) => { a.mov(ax, cs); a.retf(); });
        guest.RunToEnd();
        Assert.Equal((0x7000UL, 5UL, 0x7000UL), (guest[0], guest[3], guest[4]));
        Assert.Equal(0, guest.State.Segments[1].Selector);
    }
}
