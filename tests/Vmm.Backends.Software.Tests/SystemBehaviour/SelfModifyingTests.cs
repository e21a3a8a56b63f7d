using Iced.Intel;
using Vmm.Core.Backends;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Code that changes under a processor's feet: by itself, by another processor, by a device, or by what the page tables say.</summary>
public abstract class SelfModifyingTests<TEngine> where TEngine : IEngine
{
    private const ulong Routine = 0x70000;

    [Fact]
    public void InstructionAcrossAPageEnd_RewrittenOnEitherSide_IsExecuted()
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            a.mov(rsi, 0x70FFE);
            a.call(rsi);
            a.mov(ecx, eax);
            a.mov(__byte_ptr[0x71000], 3);
            a.call(rsi);
            a.add(ecx, eax);
            a.mov(__byte_ptr[0x70FFF], 2);
            a.call(rsi);
            a.add(ecx, eax);
        });
        guest.Place(0x70FFE, 64, (a, _) => { a.mov(eax, 1); a.ret(); });
        guest.RunToEnd();
        Assert.Equal(1UL + 0x301 + 0x302, guest[1]);
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public void InstructionAcrossAPageEnd_OfAPageThatMoves_IsTheOneMappedNow(bool jump)
    {
        // The second page is by turns one of two, is gone once, and is written to at last. The first page stays.
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            var loop = a.CreateLabel();
            a.mov(rsi, jump ? 0x70FE0 : 0x70FFE);
            a.mov(rbx, SystemGuest.Entry(0x71000));
            a.Label(ref loop);
            a.call(rsi);
            a.add(edx, eax);
            a.xor(__qword_ptr[rbx], 0x72000 ^ 0x73000);
            a.invlpg(__[0x71800]);
            a.dec(ebp);
            a.jne(loop);
            a.inc(__byte_ptr[0x72000]);
            a.call(rsi);
            a.add(edx, eax);
            a.mov(__qword_ptr[rbx], 0);
            a.invlpg(__[0x71000]);
            a.call(rsi);
        });
        guest.Place(0x70FFE, 64, (a, _) => { a.mov(eax, 1); a.ret(); });
        if (jump) guest.Place(0x70FE0, 64, (a, _) => { for (var i = 0; i < 26; i++) a.nop(); a.jmp(0x70FFE); });
        if (jump) guest.Bytes(0x70FFE, 0xB8, 1);
        guest.Bytes(0x72000, 0, 0, 0, 0xC3);
        guest.Bytes(0x73000, 1, 0, 0, 0xC3);
        guest.SetPage(0x71000, 0x72007);
        (guest[5], guest[2]) = (40, 0);
        Assert.Equal(new Trap(14, 16, 0x70FFE), guest.RunToTrap());
        Assert.Equal((20UL * 0x102 + 0x101, 0x71000UL), (guest[2], guest.State.Cr2));
    }

    [Fact]
    public void RepeatedStore_AheadInTheSameBlock_IsExecuted()
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) =>
        {
            a.mov(al, 0x90);
            a.rep.stosb();
            mark("ahead");
            for (var i = 0; i < 16; i++) a.inc(edx);
            a.inc(ebx);
        });
        (guest[1], guest[2], guest[3], guest[7]) = (32, 0, 0, guest["ahead"]);
        guest.RunToEnd();
        Assert.Equal((0UL, 1UL), (guest[2], guest[3]));
    }

    [Fact]
    public void RepeatedMove_OverARoutine_RunsEachVersion()
    {
        // Two templates are copied in turn over the routine that is called, which lies at a page end and goes on behind it.
        const ulong target = 0x70FF8;
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            var loop = a.CreateLabel();
            a.Label(ref loop);
            a.mov(rsi, r8);
            a.mov(rdi, target);
            a.mov(ecx, 16);
            a.rep.movsb();
            a.mov(rsi, target);
            a.call(rsi);
            a.xor(r8, 0x72000 ^ 0x73000);
            a.dec(ebp);
            a.jne(loop);
        });
        guest.Place(0x72000, 64, (a, _) => { a.add(edx, 1); a.add(edx, 2); a.add(edx, 4); a.nop(); a.ret(); });
        guest.Place(0x73000, 64, (a, _) => { a.add(edx, 0x10); a.add(edx, 0x20); a.add(edx, 0x40); a.nop(); a.ret(); });
        (guest[8], guest[5], guest[2]) = (0x72000, 40, 0);
        guest.RunToEnd();
        Assert.Equal(20UL * (0x70 + 7), guest[2]);
    }

    [Fact]
    public void Store_ThroughAnotherMapping_IsExecuted()
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            var loop = a.CreateLabel();
            a.mov(rsi, Routine);
            a.Label(ref loop);
            a.call(rsi);
            a.add(edi, eax);
            a.inc(__byte_ptr[0x74001]);
            a.xor(eax, eax);
            a.cpuid();
            a.dec(ebp);
            a.jne(loop);
        });
        guest.Place(Routine, 64, (a, _) => { a.mov(eax, 1); a.ret(); });
        guest.SetPage(0x74000, Routine | 7);
        (guest[5], guest[7]) = (20, 0);
        guest.RunToEnd();
        Assert.Equal(210UL, guest[7]);
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public void SwitchOfAddressSpaces_SameAddress_RunsTheOtherPage(bool global)
    {
        const ulong second = 0x310000;
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            var loop = a.CreateLabel();
            a.mov(rsi, Routine);
            a.Label(ref loop);
            a.call(rsi);
            a.add(edx, eax);
            a.mov(cr3, rbx);
            a.xchg(rbx, rdi);
            a.dec(ebp);
            a.jne(loop);
        });
        guest.Place(Routine, 64, (a, _) => { a.mov(eax, 1); a.ret(); });
        guest.Place(0x74000, 64, (a, _) => { a.mov(eax, 0x100); a.ret(); });
        var tables = new byte[0x4000];
        Assert.True(guest.Bus.Memory.TryRead(SystemGuest.Tables, tables));
        guest.Bytes(second, tables);
        guest.Write(second, second + 0x1000 | 7);
        guest.Write(second + 0x1000, second + 0x2000 | 7);
        guest.Write(second + 0x2000, second + 0x3000 | 7);
        guest.Write(second + 0x3000 + Routine / 4096 * 8, 0x74007UL);
        // The program itself may be global; what differs is not.
        if (global)
        {
            guest.SetPage(SystemGuest.Start, SystemGuest.Start | 0x107);
            guest.Write(second + 0x3000 + SystemGuest.Start / 4096 * 8, SystemGuest.Start | 0x107);
        }

        (guest[5], guest[3], guest[7], guest[2]) = (40, second, SystemGuest.Tables, 0);
        guest.RunToEnd();
        Assert.Equal(20UL * 0x101, guest[2]);
    }

    [Theory]
    [InlineData(0x470000), InlineData(0x471000), InlineData(0x5FF000)]
    public void InvalidationOfALargePage_ByAnyOfItsAddresses_DropsAllOfIt(int address)
    {
        // A page of 2 MiB moves from one half of memory to the other; code and data of several of its 4 KiB are in use before.
        const ulong window = 0x400000;
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            var loop = a.CreateLabel();
            a.mov(rsi, window + 0x70000);
            a.mov(edi, 2);
            a.Label(ref loop);
            a.call(rsi);
            a.shl(edx, 8);
            a.add(edx, eax);
            a.shl(edx, 8);
            a.add(dl, __byte_ptr[window + 0x71000]);
            a.mov(__qword_ptr[SystemGuest.Tables + 0x2010], rbx);
            a.invlpg(__[rcx]);
            a.dec(edi);
            a.jne(loop);
        });
        guest.Place(0x70000, 64, (a, _) => { a.mov(eax, 1); a.ret(); });
        guest.Place(0x270000, 64, (a, _) => { a.mov(eax, 2); a.ret(); });
        guest.Bytes(0x71000, 3);
        guest.Bytes(0x271000, 4);
        guest.Write(SystemGuest.Tables + 0x2010, 0x87UL);
        (guest[1], guest[2], guest[3]) = ((ulong)address, 0, 0x200087);
        guest.RunToEnd();
        Assert.Equal(0x01030204UL, guest[2]);
    }

    [Theory]
    [InlineData(0x75000UL), InlineData(Routine + 0x800)]
    public void CodeOfAnotherProcessor_AfterASerializingInstruction_IsAlwaysTheNewOne(ulong number)
    {
        // The first processor writes an immediate and then its number; the second waits for the number, serializes and must load just that. The
        // numbers are in a page of their own, or beside the code.
        var answer = number + 0x100;
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            Label loop = a.CreateLabel(), wait = a.CreateLabel();
            a.Label(ref loop);
            a.inc(ebp);
            a.mov(__dword_ptr[Routine + 1], ebp);
            a.mov(__dword_ptr[number], ebp);
            a.Label(ref wait);
            a.pause();
            a.cmp(__dword_ptr[answer], ebp);
            a.jne(wait);
            a.cmp(ebp, 3000);
            a.jne(loop);
        }, vcpus: 2);
        guest.Place(Routine, 64, (a, _) => { a.mov(eax, 0x11223344); a.ret(); });
        guest.Place(0x71000, 64, (a, _) =>
        {
            Label loop = a.CreateLabel(), wait = a.CreateLabel();
            a.mov(rsi, Routine);
            a.Label(ref loop);
            a.inc(ebp);
            a.Label(ref wait);
            a.pause();
            a.cmp(__dword_ptr[number], ebp);
            a.jne(wait);
            a.xor(eax, eax);
            a.cpuid();
            a.call(rsi);
            a.xor(eax, ebp);
            a.or(edi, eax);
            a.mov(__dword_ptr[answer], ebp);
            a.cmp(ebp, 3000);
            a.jne(loop);
        });
        guest[5] = guest[7] = 0;
        var other = new VcpuState();
        guest.Cpu.SetState(guest.State);
        guest.Cpu.GetState(other);
        other.Rip = 0x71000;
        guest.RunBoth(other);
        guest.Partition.Vcpus[1].GetState(other);
        Assert.Equal((3000UL, 0UL), (other.Gpr[5], other.Gpr[7]));
    }

    [Fact]
    public void HostThread_WritesCodeThatRuns_IsSeen()
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            var loop = a.CreateLabel();
            a.mov(rsi, Routine);
            a.Label(ref loop);
            a.inc(__qword_ptr[0x75000]);
            a.call(rsi);
            a.cmp(eax, 2);
            a.jne(loop);
        });
        guest.Place(Routine, 64, (a, _) => { a.mov(eax, 1); a.ret(); });
        var stop = default(VcpuStop);
        guest.Cpu.SetState(guest.State);
        var thread = new Thread(() => stop = guest.Cpu.Run());
        thread.Start();
        Assert.True(SpinWait.SpinUntil(() => guest.Read<ulong>(0x75000) > 1000, TimeSpan.FromMinutes(1)));
        guest.Bytes(Routine + 1, 2);
        Assert.True(thread.Join(TimeSpan.FromMinutes(1)));
        Assert.Equal(VcpuStopKind.Halted, stop.Kind);
    }
}
