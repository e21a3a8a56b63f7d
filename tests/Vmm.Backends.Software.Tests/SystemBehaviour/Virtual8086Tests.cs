using Iced.Intel;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Virtual-8086 mode (Intel SDM vol. 3, chapter 22).</summary>
public abstract class Virtual8086Tests<TEngine> where TEngine : IEngine
{
    private const int Vm = 0x20000, Iopl3 = 0x3000;

    // Ring 0 goes by IRET to 7000:0 with stack 6000:8000 and the flags given.
    private static SystemGuest Enter(int flags, Action<Assembler, Action<string>> body)
    {
        var guest = new SystemGuest<TEngine>(32, a => a.iretd());
        // In the order that IRET pops: EIP, CS, EFLAGS, ESP, SS, ES, DS, FS, GS.
        ReadOnlySpan<uint> frame = [0, 0x7000, (uint)(flags | Vm | 2), 0x8000, 0x6000, 0x1111, 0x2222, 0x3333, 0x4444];
        for (var i = 0; i < frame.Length; i++) guest.Write(SystemGuest.Stack + (ulong)i * 4, frame[i]);
        guest.Place(0x70000, 16, body);
        return guest;
    }

    [Fact]
    public void Entry_LoadsRealModeSegments_AndAnExceptionLeaves()
    {
        using var guest = Enter(0, (a, _) => { a.mov(ax, ds); a.mov(bx, es); a.mov(cx, fs); a.mov(dx, gs); a.ud2(); });
        Assert.Equal(new Trap(6, 0, 8), guest.RunToTrap());
        Assert.Equal((0x2222UL, 0x1111UL, 0x3333UL, 0x4444UL), (guest[0], guest[3], guest[1], guest[2]));
        var stack = guest[4];
        Assert.Equal((0x7000U, 0x8000U, 0x6000U, 0x1111U), (guest.Read<uint>(stack + 4), guest.Read<uint>(stack + 12), guest.Read<uint>(stack + 16), guest.Read<uint>(stack + 20)));
        Assert.NotEqual(0U, guest.Read<uint>(stack + 8) & Vm);
        Assert.Equal((0UL, (ushort)0, SystemGuest.InnerStack - 36), (guest.State.Rflags & Vm, guest.State.Segments[3].Selector, stack));
    }

    [Theory]
    [InlineData(0xFA), InlineData(0xFB), InlineData(0x9C), InlineData(0x9D), InlineData(0xCF)]
    public void SensitiveInstruction_WithoutIopl_IsProtectionFault(byte opcode)
    {
        using var guest = Enter(0, (a, _) => a.db(opcode));
        Assert.Equal(new Trap(13, 0, 0), guest.RunToTrap());
    }

    [Fact]
    public void Interrupt_WithoutIopl_IsProtectionFault()
    {
        using var guest = Enter(0, (a, _) => a.@int(0x80));
        Assert.Equal(new Trap(13, 0, 0), guest.RunToTrap());
    }

    [Fact]
    public void Interrupt_WithIopl_GoesToTheMonitor()
    {
        using var guest = Enter(Iopl3, (a, _) => a.@int(0x80));
        Assert.Equal(new Trap(0x80, 0, 2), guest.RunToTrap());
    }

    [Theory]
    [InlineData(0, false), InlineData(Iopl3, false), InlineData(0, true), InlineData(Iopl3, true)]
    public void Redirection_FollowsTheBitmap(int iopl, bool monitor)
    {
        using var guest = Enter(iopl, (a, _) => a.@int(0x85));
        guest.State.Cr4 |= 1;
        guest.Write<ushort>(SystemGuest.Tss + 102, 0x88 + 0x20);
        guest.Write<byte>(SystemGuest.Tss + 0x88 + 0x85 / 8, (byte)(monitor ? 1 << 5 : 0));
        guest.Place(0x71000, 16, (a, _) => a.ud2());
        guest.Write(0x85UL * 4, 0x7100U << 16);
        var trap = guest.RunToTrap();
        if (monitor)
        {
            Assert.Equal(iopl == 0 ? new Trap(13, 0, 0) : new Trap(0x85, 0, 2), trap);
            return;
        }

        Assert.Equal(new Trap(6, 0, 0), trap);
        Assert.Equal(0x7100U, guest.Read<uint>(guest[4] + 4));
        // The program's own frame: IP, CS, flags.
        Assert.Equal((2, 0x7000), (guest.Read<ushort>(0x67FFA), guest.Read<ushort>(0x67FFC)));
    }

    [Fact]
    public void StiAndCli_WithVme_ChangeTheVirtualFlagOnly()
    {
        using var guest = Enter(0, (a, _) => { a.sti(); a.ud2(); });
        guest.State.Cr4 |= 1;
        Assert.Equal(6, guest.RunToTrap().Vector);
        Assert.Equal(0x80000U, guest.Read<uint>(guest[4] + 8) & 0x80200);
    }
}
