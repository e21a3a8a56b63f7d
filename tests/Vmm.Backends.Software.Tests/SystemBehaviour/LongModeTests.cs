using Iced.Intel;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Long mode: stacks of interrupts, returns, fast system calls (Intel SDM vol. 3, 6.8 and 7.14).</summary>
public abstract class LongModeTests<TEngine> where TEngine : IEngine
{
    private const uint Star = 0xC0000081, Lstar = 0xC0000082, Fmask = 0xC0000084, KernelGsBase = 0xC0000102, SysenterCs = 0x174;
    private const ulong Entry = 0x70000;

    [Fact]
    public void Interrupt_SameRing_AlignsTheStack()
    {
        using var guest = new SystemGuest<TEngine>(64, a => { a.push(rax); a.@int(0x80); });
        guest.RunToTrap();
        Assert.Equal(SystemGuest.Stack - 16 - 40, guest[4]);
        Assert.Equal(SystemGuest.Stack - 8, guest.Read<ulong>(guest[4] + 24));
    }

    [Fact]
    public void Interrupt_FromRing3_TakesStackOfTheTssAndNullSs()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.@int(0x80), user: true);
        guest.RunToTrap();
        Assert.Equal((SystemGuest.InnerStack - 40, (ushort)0), (guest[4], guest.State.Segments[2].Selector));
        Assert.Equal((SystemGuest.UserStack, (ulong)SystemGuest.UserData), (guest.Read<ulong>(guest[4] + 24), guest.Read<ulong>(guest[4] + 32)));
    }

    [Fact]
    public void Interrupt_WithStackTable_TakesThatStack()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.@int(0x80));
        guest.SetGate(0x80, SystemGuest.Handlers + 0x800, 0, ist: 1);
        guest.RunToTrap();
        Assert.Equal(SystemGuest.IstStack - 40, guest[4]);
    }

    [Fact]
    public void InterruptReturn_ToRing3_RunsThere()
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            foreach (var value in (int[])[SystemGuest.UserData, 0x28000, 0x202, SystemGuest.UserCode64, (int)Entry]) a.push(value);
            a.iretq();
        }).Place(Entry, 64, (a, mark) => { mark("user"); a.cli(); });
        Assert.Equal(new Trap(13, 0, guest["user"]), guest.RunToTrap());
        Assert.Equal((ulong)SystemGuest.UserCode64, guest.Read<ulong>(guest[4] + 16));
    }

    [Theory]
    [InlineData(SystemGuest.UserData, 0x8000_0000_0000_0000UL, 0u)]
    [InlineData((ushort)0, Entry, 0u)]
    [InlineData((ushort)0x1003, Entry, 0x1000u)]
    public void InterruptReturn_BadFrame_IsAFaultOfTheReturn(ushort ss, ulong rip, uint error)
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.iretq());
        ReadOnlySpan<ulong> frame = [rip, SystemGuest.UserCode64, 2, 0x28000, ss];
        for (var i = 0; i < 5; i++) guest.Write(SystemGuest.Stack + (ulong)i * 8, frame[i]);
        Assert.Equal(new Trap(13, error, SystemGuest.Start), guest.RunToTrap());
    }

    [Fact]
    public void CompatibilityMode_RunsThirtyTwoBitCode_AndInterruptsComeBackTo64()
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            foreach (var value in (int[])[SystemGuest.UserData, 0x28000, 2, SystemGuest.UserCode32, (int)Entry]) a.push(value);
            a.iretq();
        }).Place(Entry, 32, (a, _) => { a.mov(eax, -1); a.inc(eax); a.dec(eax); a.push(eax); a.@int(0x80); });
        guest[0] = ulong.MaxValue;
        Assert.Equal(0x80, guest.RunToTrap().Vector);
        Assert.Equal((0xFFFFFFFFUL, 0x27FFCUL), (guest[0], guest.Read<ulong>(guest[4] + 24)));
        Assert.Equal(SystemGuest.Code64, guest.State.Segments[1].Selector);
    }

    [Fact]
    public void SyscallAndSysret_GoInAndOut()
    {
        using var guest = SystemCall(new SystemGuest<TEngine>(64, (a, mark) => { a.syscall(); mark("after"); a.mov(esi, cs); a.@int(0x80); }, user: true),
            (a, _) => { a.mov(edi, cs); a.pushfq(); a.pop(rbx); a.sysretq(); });
        guest.State.Rflags = 0x602;
        Assert.Equal(0x80, guest.RunToTrap().Vector);
        Assert.Equal(((ulong)SystemGuest.Code64, (ulong)SystemGuest.UserCode64), (guest[7], guest[6]));
        Assert.Equal((guest["after"], 0x602UL, 0x202UL), (guest[1], guest[11], guest[3]));
        Assert.Equal((ulong)SystemGuest.UserData, guest.Read<ulong>(guest[4] + 32));
    }

    [Fact]
    public void Sysret_NonCanonicalTarget_IsProtectionFaultInRing0()
    {
        using var guest = SystemCall(new SystemGuest<TEngine>(64, a => a.syscall(), user: true), (a, mark) => { a.mov(rcx, 0x8000_0000_0000_0000); a.mov(rsp, 0x1F000); mark("ret"); a.sysretq(); });
        Assert.Equal(new Trap(13, 0, guest["ret"]), guest.RunToTrap());
        Assert.Equal((ulong)SystemGuest.Code64, guest.Read<ulong>(guest[4] + 16));
    }

    [Fact]
    public void Syscall_SwitchedOff_IsUndefined()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.syscall(), user: true);
        guest.State.Efer &= ~1UL;
        Assert.Equal(new Trap(6, 0, SystemGuest.Start), guest.RunToTrap());
    }

    [Fact]
    public void SingleStep_SyscallWithMaskedTrapFlag_IsNotStepped()
    {
        using var guest = SystemCall(new SystemGuest<TEngine>(64, a => a.syscall(), user: true), (a, _) => a.mov(ebx, 5));
        guest.State.Rflags |= 0x100;
        guest.RunToEnd();
        Assert.Equal(5UL, guest[3]);
    }

    [Fact]
    public void SysenterAndSysexit_GoInAndOut()
    {
        using var guest = new SystemGuest<TEngine>(32, a => { a.sysenter(); a.nop(); }, user: true).Place(Entry, 32, (a, _) => { a.mov(edi, ss); a.mov(edx, 0x71000); a.mov(ecx, 0x27000); a.sysexit(); })
            .Place(0x71000, 32, (a, _) => { a.mov(esi, cs); a.mov(ebx, esp); a.@int(0x80); });
        guest.State.Msrs = [new(SysenterCs, 0x30), new(0x175, SystemGuest.Stack), new(0x176, Entry)];
        Assert.Equal(0x80, guest.RunToTrap().Vector);
        Assert.Equal((0x38UL, 0x43UL, 0x27000UL), (guest[7], guest[6], guest[3]));
    }

    [Fact]
    public void Sysenter_NullSelector_IsProtectionFault()
    {
        using var guest = new SystemGuest<TEngine>(32, a => a.sysenter(), user: true);
        Assert.Equal(new Trap(13, 0, SystemGuest.Start), guest.RunToTrap());
    }

    [Fact]
    public void Swapgs_ExchangesBases()
    {
        using var guest = new SystemGuest<TEngine>(64, a => { a.swapgs(); a.db(0x65); a.mov(rax, __qword_ptr[rbx]); a.rdgsbase(rcx); });
        guest.State.Cr4 |= 1 << 16;
        guest.State.Segments[5].Base = 0x1234;
        guest.State.Msrs = [new(KernelGsBase, 0x10000)];
        guest.Write(0x10010, 0xCAFEUL);
        guest[3] = 0x10;
        guest.RunToEnd();
        Assert.Equal((0xCAFEUL, 0x10000UL), (guest[0], guest[1]));
        Assert.Contains(guest.State.Msrs, m => m.Index == KernelGsBase && m.Value == 0x1234);
    }

    [Fact]
    public void CodeAtTheEndOfTheLowerHalf_RunsIntoAProtectionFault()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.jmp(rbx));
        // The last page below the hole is a copy of 0x10000.
        guest.Write(SystemGuest.Tables + 255 * 8, 0x310007UL);
        guest.Write(0x310000UL + 511 * 8, 0x311007UL);
        guest.Write(0x311000UL + 511 * 8, 0x312007UL);
        guest.Write(0x312000UL + 511 * 8, 0x10007UL);
        guest.Bytes(0x10FFE, 0x90, 0x90);
        guest[3] = 0x7FFF_FFFF_FFFE;
        Assert.Equal(new Trap(13, 0, 0x8000_0000_0000), guest.RunToTrap());
    }

    [Fact]
    public void CodeAtTheEndOfMemory_GoesOnInUnclaimedAddresses()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.jmp(rbx));
        guest.Write(SystemGuest.Tables + 0x2010, 0x400083UL);
        guest.Bytes(0x3FFFFE, 0x90, 0x90);
        // Nothing answers there: ones, which are an undefined opcode (FF /7).
        guest.Write(SystemGuest.Tables + 0x2008, 0x200087UL);
        guest[3] = 0x3FFFFE;
        Assert.Equal(new Trap(6, 0, 0x400000), guest.RunToTrap());
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public void TimeStamp_ReadAgainAndAgain_NeverGoesBackAndChangesNothingElse(bool vectors)
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            Label loop = a.CreateLabel(), back = a.CreateLabel();
            if (vectors) { a.movq(xmm3, rsi); a.fldpi(); }
            a.Label(ref loop);
            a.sub(rcx, 1);
            a.stc();
            a.rdtsc();
            a.adc(rbx, 0);
            a.shl(rdx, 32);
            a.or(rax, rdx);
            a.cmp(rax, rdi);
            a.jb(back);
            a.mov(rdi, rax);
            a.test(rcx, rcx);
            a.jne(loop);
            a.xor(edi, edi);
            a.Label(ref back);
            a.mov(eax, 0);
            if (vectors) { a.movq(rax, xmm3); a.fstp(__tbyte_ptr[0x10000]); }
        });
        for (var i = 0; i < 16; i++)
        {
            if (i != 4) guest[i] = (ulong)i * 0x0101_0101_0101_0101;
        }

        (guest[1], guest[3], guest[7]) = (100, 0, 0);
        guest.RunToEnd();
        Assert.Equal((0UL, 100UL, 0UL), (guest[1], guest[3], guest[7]));
        Assert.Equal(vectors ? 0x0606_0606_0606_0606UL : 0, guest[0]);
        foreach (var i in (int[])[5, 6, 8, 9, 10, 11, 12, 13, 14, 15]) Assert.Equal((ulong)i * 0x0101_0101_0101_0101, guest[i]);
        Assert.Equal(SystemGuest.Stack, guest[4]);
        if (vectors) Assert.Equal(0xC90F_DAA2_2168_C235, guest.Read<ulong>(0x10000));
    }

    [Fact]
    public void TimeStamp_OfARunningClock_NeverGoesBackWhoeverReadsIt()
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            Label loop = a.CreateLabel(), back = a.CreateLabel(), done = a.CreateLabel();
            void Read(bool andProcessor)
            {
                if (andProcessor) a.rdtscp();
                else a.rdtsc();
                a.shl(rdx, 32);
                a.or(rax, rdx);
                a.cmp(rax, rdi);
                a.jb(back);
                a.mov(rdi, rax);
            }

            Read(false);
            // Longer than it takes to get to know the rate of the host's counter.
            a.lea(rsi, __[rdi + 250_000_000]);
            a.Label(ref loop);
            Read(false);
            Read(false);
            Read(true);
            Read(false);
            a.cmp(rdi, rsi);
            a.jb(loop);
            a.jmp(done);
            a.Label(ref back);
            a.mov(ebx, 1);
            a.Label(ref done);
        });
        guest.Clock.Resume();
        for (var i = 0; i < 2; i++)
        {
            guest.GoTo(SystemGuest.Start);
            guest.RunToEnd();
            Assert.Equal(0UL, guest[3]);
            Assert.InRange((long)guest[7], 1, guest.Clock.Now);
        }
    }

    [Fact]
    public void TimeStamp_ReadByAUserWhoMayNot_IsProtectionFault()
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) => { a.nop(); mark("read"); a.rdtsc(); }, user: true);
        guest.State.Cr4 |= 4;
        Assert.Equal(new Trap(13, 0, guest["read"]), guest.RunToTrap());
    }

    private static SystemGuest SystemCall(SystemGuest guest, Action<Assembler, Action<string>> entry)
    {
        guest.State.Msrs = [new(Star, 0x0018_0008_0000_0000), new(Lstar, Entry), new(Fmask, 0x500)];
        return guest.Place(Entry, 64, entry);
    }
}
