using Vmm.Core.Backends;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Double and triple faults (Intel SDM vol. 3, 7.15, interrupt 8).</summary>
public abstract class TripleFaultTests<TEngine> where TEngine : IEngine
{
    [Theory]
    [InlineData(16), InlineData(32), InlineData(64)]
    public void AnyException_NoInterruptTable_ShutsDown(int bitness)
    {
        using var guest = new SystemGuest<TEngine>(bitness, a => a.ud2());
        guest.State.Idt = new DescriptorTable(0, 0);
        Assert.Equal(VcpuStopKind.Shutdown, guest.Run().Kind);
        Assert.Equal(SystemGuest.Start, guest.State.Rip);
    }

    [Fact]
    public void Shutdown_RunAgain_StaysDown()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.ud2());
        guest.State.Idt = new DescriptorTable(0, 0);
        Assert.Equal(VcpuStopKind.Shutdown, guest.Run().Kind);
        var retired = guest.Cpu.InstructionsRetired;
        // What it stood at now would halt: a processor that is down does not run it.
        guest.Bytes(SystemGuest.Start, 0xF4);
        Assert.Equal(VcpuStopKind.Shutdown, guest.Cpu.Run().Kind);
        Assert.Equal(retired, guest.Cpu.InstructionsRetired);
    }

    [Fact]
    public void ProtectionFault_WhileDeliveringProtectionFault_IsDoubleFaultWithErrorZero()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.mov(__[rax], ecx));
        guest[0] = 0x8000_0000_0000_0000;
        guest.SetGate(13, 0, 0, selector: 0x0FF8 + 0x1000 & 0xFFF8);
        Assert.Equal(new Trap(8, 0, SystemGuest.Start), guest.RunToTrap());
    }

    [Fact]
    public void PageFault_WhileDeliveringPageFault_IsDoubleFaultOnItsOwnStack()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.push(rax));
        guest.SetPage(SystemGuest.Stack - 0x1000, 0);
        guest.SetGate(8, SystemGuest.Handlers + 8 * 16, 0, ist: 1);
        Assert.Equal(new Trap(8, 0, SystemGuest.Start), guest.RunToTrap());
        Assert.Equal(SystemGuest.IstStack - 48, guest[4]);
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public void PageFault_WhileDeliveringPageFault_NoStackForDoubleFault_ShutsDown(bool plain)
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            if (plain) a.mov(__qword_ptr[rsp - 8], rax);
            else a.push(rax);
        });
        guest.SetPage(SystemGuest.Stack - 0x1000, 0);
        Assert.Equal(VcpuStopKind.Shutdown, guest.Run().Kind);
        Assert.Equal((SystemGuest.Start, SystemGuest.Stack), (guest.State.Rip, guest[4]));
    }

    [Fact]
    public void GateNotPresent_OfBenignException_IsDeliveredInItsPlace()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.ud2());
        guest.SetGate(6, SystemGuest.Handlers, 0, type: 0x0E);
        Assert.Equal(new Trap(11, 6 * 8 + 3, SystemGuest.Start), guest.RunToTrap());
    }

    [Fact]
    public void PageFault_WhileDeliveringDivideError_IsAPageFault()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.div(ecx));
        guest[1] = 0;
        // The gate of #DE has an interrupt stack that is not there.
        guest.SetGate(0, SystemGuest.Handlers, 0, ist: 1);
        guest.SetPage(SystemGuest.IstStack - 0x1000, 0);
        Assert.Equal(new Trap(14, 2, SystemGuest.Start), guest.RunToTrap());
        Assert.Equal(SystemGuest.IstStack - 8, guest.State.Cr2);
    }
}
