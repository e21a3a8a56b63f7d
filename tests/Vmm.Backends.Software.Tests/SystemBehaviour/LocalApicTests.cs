using Iced.Intel;
using Vmm.Core.Backends;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>The local APIC as a program meets it, in counted time (Intel SDM vol. 3, chapter 11).</summary>
public abstract class LocalApicTests<TEngine> where TEngine : IEngine
{
    private const uint ApicBase = 0x1B, SelfIpi = 0x83F, X2Eoi = 0x80B, X2Spurious = 0x80F, TscDeadline = 0x6E0;

    // RBP is the APIC's page; vector 0x50 counts in RBX and ends the interrupt.
    private static SystemGuest Make(Action<Assembler, Action<string>> body)
    {
        var guest = new SystemGuest<TEngine>(64, (a, mark) => { a.mov(__dword_ptr[rbp + 0xF0], 0x1FF); body(a, mark); }, nanosecondsPerInstruction: 1);
        guest.Write(SystemGuest.Tables + 0x1018, 0xC0000083UL);
        guest.Handle(0x50, a => { a.inc(rbx); a.mov(__dword_ptr[rbp + 0xB0], 0); a.iretq(); });
        guest[5] = 0xFEE00000;
        return guest;
    }

    private static void Spin(Assembler a, int count)
    {
        var loop = a.CreateLabel();
        a.mov(ecx, count);
        a.Label(ref loop);
        a.dec(ecx);
        a.jne(loop);
    }

    private static void WriteMsr(Assembler a, uint index, ulong value)
    {
        a.mov(ecx, index);
        a.mov(eax, (uint)value);
        a.mov(edx, (uint)(value >> 32));
        a.wrmsr();
    }

    [Fact]
    public void Timer_OneShot_FiresOnce()
    {
        using var guest = Make((a, _) => { a.mov(__dword_ptr[rbp + 0x320], 0x50); a.mov(__dword_ptr[rbp + 0x3E0], 0xB); a.mov(__dword_ptr[rbp + 0x380], 5000); a.sti(); Spin(a, 100_000); });
        guest.RunToEnd();
        Assert.Equal(1UL, guest[3]);
    }

    [Fact]
    public void Timer_AfterAHaltThatWasSkipped_IsNotLate()
    {
        using var guest = Make((a, _) => { a.sti(); a.hlt(); a.mov(__dword_ptr[rbp + 0x320], 0x50); a.mov(__dword_ptr[rbp + 0x3E0], 0xB); a.mov(__dword_ptr[rbp + 0x380], 5000); Spin(a, 5000); });
        guest.RunToEnd();
        // As the run loop does: a halted processor's time is skipped, and then something wakes it.
        guest.Clock.Advance(1_000_000_000);
        guest.GoTo(guest.State.Rip);
        guest.RunToEnd();
        Assert.Equal(1UL, guest[3]);
    }

    [Fact]
    public void Timer_Masked_CountsWithoutInterrupt()
    {
        using var guest = Make((a, _) => { a.mov(__dword_ptr[rbp + 0x320], 0x10050); a.mov(__dword_ptr[rbp + 0x3E0], 0xB); a.mov(__dword_ptr[rbp + 0x380], 50_000); a.sti(); Spin(a, 10_000); a.mov(esi, __dword_ptr[rbp + 0x390]); Spin(a, 50_000); a.mov(edi, __dword_ptr[rbp + 0x390]); });
        guest.RunToEnd();
        Assert.Equal((0UL, 0UL), (guest[3], guest[7]));
        Assert.InRange(guest[6], 29_000UL, 30_100UL);
    }

    [Fact]
    public void Timer_Periodic_FiresAtItsRate()
    {
        using var guest = Make((a, _) => { a.mov(__dword_ptr[rbp + 0x320], 0x20050); a.mov(__dword_ptr[rbp + 0x3E0], 0xB); a.mov(__dword_ptr[rbp + 0x380], 50_000); a.sti(); Spin(a, 260_000); });
        guest.RunToEnd();
        Assert.Equal(10UL, guest[3]);
    }

    [Fact]
    public void Timer_TscDeadline_FiresWhenItPasses()
    {
        using var guest = Make((a, _) => { a.mov(__dword_ptr[rbp + 0x320], 0x40050); a.rdtsc(); a.add(eax, 10_000); a.mov(ecx, TscDeadline); a.wrmsr(); a.sti(); Spin(a, 4_000); a.mov(rsi, rbx); Spin(a, 4_000); a.mov(ecx, TscDeadline); a.rdmsr(); });
        guest.RunToEnd();
        Assert.Equal((0UL, 1UL, 0UL), (guest[6], guest[3], guest[0]));
    }

    [Fact]
    public void SelfIpi_HeldBackByTaskPriority_ComesWhenItDrops()
    {
        using var guest = Make((a, _) =>
        {
            a.mov(eax, 5);
            a.mov(cr8, rax);
            a.sti();
            a.mov(__dword_ptr[rbp + 0x300], 0x40050);
            a.nop();
            a.mov(rsi, rbx);
            a.mov(edi, __dword_ptr[rbp + 0x220]); // IRR 64 to 95: 0x50 is bit 16.
            a.mov(eax, 4);
            a.mov(cr8, rax);
            a.nop();
            a.mov(r8d, __dword_ptr[rbp + 0x80]);
        });
        guest.RunToEnd();
        Assert.Equal((0UL, 1UL, 0x40UL), (guest[6], guest[3], guest[8]));
        Assert.Equal(1UL << 16, guest[7]);
    }

    [Fact]
    public void StiShadow_HoldsTheInterruptForOneInstruction()
    {
        using var guest = Make((a, mark) => { a.mov(__dword_ptr[rbp + 0x300], 0x40051); a.sti(); a.inc(esi); mark("after"); a.inc(esi); });
        Assert.Equal(new Trap(0x51, 0, guest["after"]), guest.RunToTrap());
        Assert.Equal(1UL, guest[6]);
    }

    [Fact]
    public void Halt_AfterSti_IsLeftByAPendingInterrupt()
    {
        using var guest = Make((a, mark) => { a.mov(__dword_ptr[rbp + 0x300], 0x40051); a.sti(); a.hlt(); mark("after"); a.nop(); });
        Assert.Equal(new Trap(0x51, 0, guest["after"]), guest.RunToTrap());
    }

    [Fact]
    public void LowerInterrupt_WaitsForTheEndOfTheHigher()
    {
        using var guest = Make((a, _) => { a.mov(__dword_ptr[rbp + 0x300], 0x40061); a.sti(); a.nop(); a.nop(); });
        guest.Handle(0x61, a => { a.mov(__dword_ptr[rbp + 0x300], 0x40050); a.sti(); a.nop(); a.nop(); a.mov(rsi, rbx); a.mov(__dword_ptr[rbp + 0xB0], 0); a.db(0xEB, 0); a.mov(rdi, rbx); a.iretq(); });
        guest.RunToEnd();
        Assert.Equal((0UL, 1UL), (guest[6], guest[7]));
    }

    [Fact]
    public void X2Apic_SelfIpiAndEnd_WorkByMsr()
    {
        using var guest = Make((a, _) =>
        {
            WriteMsr(a, ApicBase, 0xFEE00D00);
            WriteMsr(a, X2Spurious, 0x1FF);
            a.sti();
            WriteMsr(a, SelfIpi, 0x52);
            a.nop();
            a.mov(ecx, 0x802);
            a.rdmsr();
        });
        guest.Handle(0x52, a => { a.inc(rsi); WriteMsr(a, X2Eoi, 0); a.iretq(); });
        guest.RunToEnd();
        Assert.Equal((1UL, 0UL), (guest[6], guest[0]));
    }

    [Theory]
    [InlineData(0xFEE00900UL, 0xFEE00500UL), InlineData(0xFEE00D00UL, 0xFEE00900UL), InlineData(0xFEE00100UL, 0xFEE00D00UL), InlineData(0xFEE00900UL, 0xFEE00901UL)]
    public void ApicBase_IllegalTransition_IsProtectionFault(ulong from, ulong to)
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) => { WriteMsr(a, ApicBase, from); a.mov(eax, (uint)to); mark("fault"); a.wrmsr(); });
        Assert.Equal(new Trap(13, 0, guest["fault"]), guest.RunToTrap());
    }

    [Fact]
    public void X2ApicRegister_InXApicMode_IsProtectionFault()
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) => { a.mov(ecx, X2Spurious); mark("fault"); a.rdmsr(); });
        Assert.Equal(new Trap(13, 0, guest["fault"]), guest.RunToTrap());
    }

    [Fact]
    public void Nmi_IsTakenWithInterruptsOff_AndBlocksTheNextUntilIret()
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) => { mark("start"); a.nop(); });
        guest.Cpu.SetState(guest.State);
        guest.Cpu.InjectNmi();
        guest.Cpu.Run();
        guest.Cpu.InjectNmi();
        Assert.Equal(VcpuStopKind.Halted, guest.Cpu.Run().Kind);
        guest.Cpu.GetState(guest.State);
        Assert.Equal(new Trap(2, 0, guest["start"]), guest.Trap);
        Assert.Equal((true, true), (guest.State.NmiBlocked, guest.State.NmiPending));
    }

    [Fact]
    public void State_ReadAndSet_GoesOnAsIfNothingHappened()
    {
        using var guest = Make((a, _) => { a.mov(__dword_ptr[rbp + 0x320], 0x20050); a.mov(__dword_ptr[rbp + 0x3E0], 0xB); a.mov(__dword_ptr[rbp + 0x380], 50_000); a.mov(cr8, rax); a.fld1(); a.stc(); });
        guest[0] = 3;
        guest.RunToEnd();
        var again = new VcpuState();
        guest.Cpu.SetState(guest.State);
        guest.Cpu.GetState(again);
        Assert.Equal(guest.State.Gpr, again.Gpr);
        Assert.Equal(guest.State.Segments, again.Segments);
        Assert.Equal((guest.State.Rip, guest.State.Rflags, guest.State.Cr0, guest.State.Cr3, guest.State.Cr4, guest.State.Cr8, guest.State.Efer, guest.State.ApicBase), (again.Rip, again.Rflags, again.Cr0, again.Cr3, again.Cr4, again.Cr8, again.Efer, again.ApicBase));
        Assert.Equal((guest.State.Tr, guest.State.Ldt, guest.State.Gdt, guest.State.Idt, guest.State.MpState), (again.Tr, again.Ldt, again.Gdt, again.Idt, again.MpState));
        Assert.Equal(guest.State.Xsave, again.Xsave);
        Assert.Equal(guest.State.Apic, again.Apic);
        Assert.Equal(guest.State.Msrs, again.Msrs);
    }
}
