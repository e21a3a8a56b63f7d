using Iced.Intel;
using Vmm.Core.Backends;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>
/// Page faults and instructions that change what addresses mean, in loops of translated code, which goes on by itself behind them: both engines must
/// do the same, in real time, where code runs on as long as nothing is in its way, and in counted time, where it is stopped every few instructions.
/// </summary>
public sealed class ContinuedCodeTests
{
    private const ulong Page = 0x10000, First = 0x11000, Second = 0x12000, Away = 0x14000, OtherTables = 0x320000, OtherEntry = OtherTables + 0x3000 + Page / 4096 * 8;
    private const ulong Keep = 1UL << 63, FirstCr3 = SystemGuest.Tables | 1, SecondCr3 = OtherTables | 2;
    private const int Rounds = 60;

    // Carry, direction, XMM and x87 registers must survive; the page goes away again in each round.
    [Theory]
    [InlineData(true), InlineData(false)]
    public void PageFaults_HandledInALoop_ChangeNothingElse(bool user)
    {
        var state = Compare(user, a =>
        {
            a.mov(r8, Away + 0x18);
            a.fninit();
            a.fld1();
            a.movq(xmm3, r8);
            Loop(a, () =>
            {
                a.mov(rdx, r15);
                a.stc();
                a.mov(__qword_ptr[r8], rbx);
                a.adc(rdi, __qword_ptr[r8]);
                a.paddq(xmm3, xmm3);
                a.fadd(st0, st0);
                a.std();
                a.add(__qword_ptr[r8 + 8], rdi);
                a.cld();
                a.@int(0x81);
            });
            a.@int(0x80);
        }, guest =>
        {
            guest.SetPage(Away, 0);
            guest.Handle(0x81, a => { Unmap(a); a.iretq(); });
            guest.Handle(14, a =>
            {
                a.push(rax);
                a.pushfq();
                a.add(r13, __qword_ptr[rsp]);
                a.popfq();
                a.mov(rax, cr2);
                a.add(r14, rax);
                a.mov(rax, __qword_ptr[rsp + 8]);
                a.lea(r14, __[r14 + rax * 8]);
                a.add(r14, __qword_ptr[rsp + 16]);
                a.add(r14, __qword_ptr[rsp + 32]);
                a.mov(eax, (uint)(First | 7));
                a.mov(__qword_ptr[SystemGuest.Entry(Away)], rax);
                a.inc(r15);
                a.pop(rax);
                a.add(rsp, 8);
                a.iretq();
            });
        });
        Assert.Equal((Rounds, (ulong)Rounds), ((int)state.Gpr[15], state.Gpr[3]));
    }

    // In the 40th round the handler's stack is gone: a double fault, and with that gone too the end.
    [Theory]
    [InlineData(0UL, VcpuStopKind.Halted), InlineData(0UL, VcpuStopKind.Shutdown), InlineData(0x8000_0000_0000_0000UL, VcpuStopKind.Halted)]
    public void PageFault_WhoseStackIsGone_IsADoubleFault(ulong stack, VcpuStopKind end) => Compare(true, a =>
    {
        a.mov(r8, Away);
        Loop(a, () => { a.add(__qword_ptr[r8], rbx); a.@int(0x81); });
        a.@int(0x80);
    }, guest =>
    {
        guest.SetPage(Away, 0);
        if (end == VcpuStopKind.Halted) guest.SetGate(8, SystemGuest.Handlers + 8 * 16, 0, ist: 1);
        guest.Handle(0x81, a =>
        {
            var usual = a.CreateLabel();
            Unmap(a);
            a.cmp(rbx, 40);
            a.jne(usual);
            a.mov(rax, stack);
            a.mov(__qword_ptr[SystemGuest.Tss + 4], rax);
            a.Label(ref usual);
            a.iretq();
        });
        guest.Handle(14, a => { Map(a); a.add(rsp, 8); a.iretq(); });
    }, end);

    // The instruction after a write of CR3 is that of the other page.
    [Fact]
    public void Code_UnderAnotherAddressSpace_GoesOnInItsOwnPage()
    {
        var state = Compare(false, a => Loop(a, () => a.call(r9)), Spaces(
            a => { a.mov(cr3, rsi); a.add(r12, 1); a.xchg(rsi, rdi); a.ret(); },
            a => { a.mov(cr3, rsi); a.add(r13, 1); a.xchg(rsi, rdi); a.ret(); }));
        Assert.Equal((Rounds / 2UL, Rounds / 2UL), (state.Gpr[12], state.Gpr[13]));
    }

    // So it is after INVLPG and INVPCID of the page that they are in.
    [Theory]
    [InlineData(false), InlineData(true)]
    public void Code_WhosePageIsInvalidated_GoesOnInTheNewOne(bool all)
    {
        void Body(Assembler a, AssemblerRegister64 counter)
        {
            a.xchg(__qword_ptr[r8], r10);
            if (all) a.invpcid(r11, __xmmword_ptr[rbp]);
            else a.invlpg(__byte_ptr[r9]);
            a.add(counter, 1);
            a.ret();
        }

        var state = Compare(false, a => Loop(a, () => a.call(r9)), guest =>
        {
            Spaces(a => Body(a, r12), a => Body(a, r13))(guest);
            (guest[5], guest[8], guest[10], guest[11]) = (0x13000, SystemGuest.Entry(Page), Second | 7, 2);
        });
        Assert.Equal((Rounds / 2UL, Rounds / 2UL), (state.Gpr[12], state.Gpr[13]));
    }

    // Bytes to and from pages that the TLB has not, but the table behind it: each space has its own.
    [Theory]
    [InlineData(1), InlineData(8), InlineData(100)]
    public void StringInstructions_InSpacesThatReturn_MoveTheirOwnBytes(int bytes)
    {
        var state = Compare(false, a => Loop(a, () =>
        {
            foreach (var space in (AssemblerRegister64[])[r12, r13])
            {
                a.mov(cr3, space);
                a.mov(rsi, r9);
                a.mov(edi, 0x15000);
                a.mov(ecx, bytes);
                a.rep.movsb();
                a.add(r14, __qword_ptr[0x15000]);
                a.lea(rdi, __[r9 + 0x100]);
                a.mov(ecx, bytes);
                a.mov(eax, ebx);
                a.rep.stosb();
                a.add(r14, __qword_ptr[r9 + 0x100]);
                a.lea(rsi, __[r9 + 0x100]);
                a.lea(rdi, __[r9 + 0x200]);
                a.mov(ecx, bytes);
                a.rep.movsb();
            }
        }), guest =>
        {
            Spaces(a => a.db(1, 2, 3, 4, 5, 6, 7, 8), a => a.db(9, 10, 11, 12, 13, 14, 15, 16))(guest);
            (guest[12], guest[13]) = (FirstCr3 | Keep, SecondCr3 | Keep);
        });
        Assert.NotEqual(0UL, state.Gpr[14]);
    }

    // Registers come and go; in the 40th round with an exception unmasked, which the next division then meets, or with a key that forbids the next access.
    [Theory]
    [InlineData(0x1F80u, 0u), InlineData(0x1D80u, 0u), InlineData(0x1F80u, 4u), InlineData(0x7F80u, 8u)]
    public void Xrstor_InALoop_LoadsWhatItMust(uint mxcsr, uint keys)
    {
        const ulong area = 0x16000;
        Compare(false, a => Loop(a, () =>
        {
            var usual = a.CreateLabel();
            a.fninit();
            a.mov(eax, 0x207);
            a.xor(edx, edx);
            a.movq(xmm5, rbx);
            a.fld1();
            a.xsave64(__[r8]);
            a.pxor(xmm5, xmm5);
            a.add(__byte_ptr[r8 + 160 + 7 * 16], 3);
            a.cmp(rbx, 40);
            a.jne(usual);
            a.mov(__dword_ptr[r8 + 24], mxcsr);
            a.mov(__dword_ptr[r8 + 2688], keys);
            a.or(__qword_ptr[r8 + 512], 0x200);
            a.Label(ref usual);
            a.xrstor64(__[r8]);
            a.paddq(xmm6, xmm5);
            a.paddq(xmm6, xmm7);
            a.add(r14, __qword_ptr[r9]);
            a.mov(__qword_ptr[r9 + 8], r14);
            a.divsd(xmm1, xmm2);
            a.fstp(st0);
        }), guest =>
        {
            guest.State.Cr4 |= 1 << 18 | 1 << 22;
            guest.State.Xcr0 = 0x207;
            // The pages of programs have the key that may be forbidden; all others key 0.
            guest.SetPage(Page, First | 7 | 1UL << 59);
            (guest[8], guest[9]) = (area, Page);
            BitConverter.TryWriteBytes(guest.State.Xsave.AsSpan(160 + 16), 1.0);
        });
    }

    [Theory]
    [InlineData(0xC0000100u, 0x18000UL), InlineData(0xC0000102u, 0x19000UL), InlineData(0xC0000102u, 0x8000_0000_0000_0000UL), InlineData(0x12345u, 1UL), InlineData(0xC0000080u, 0x501UL)]
    public void Wrmsr_InALoop_WritesOrFaults(uint register, ulong value) => Compare(false, a => Loop(a, () =>
    {
        var usual = a.CreateLabel();
        a.mov(ecx, 0xC0000100);
        a.lea(rax, __[rbx * 8 + 0x17000]);
        a.xor(edx, edx);
        a.cmp(rbx, 40);
        a.jne(usual);
        a.mov(ecx, register);
        a.mov(eax, (uint)value);
        a.mov(edx, (uint)(value >> 32));
        a.Label(ref usual);
        a.wrmsr();
        a.add(__qword_ptr.fs[8], rbx);
        a.swapgs();
        a.mov(eax, 0x80000002);
        a.cpuid();
        a.add(r14, rax);
        a.swapgs();
    }), _ => { });

    private static void Map(Assembler a)
    {
        a.push(rax);
        a.mov(eax, (uint)(First | 7));
        a.mov(__qword_ptr[SystemGuest.Entry(Away)], rax);
        a.pop(rax);
    }

    private static void Unmap(Assembler a)
    {
        a.mov(__qword_ptr[SystemGuest.Entry(Away)], 0);
        a.invlpg(__byte_ptr[Away]);
    }

    private static void Loop(Assembler a, Action body)
    {
        var again = a.CreateLabel();
        a.Label(ref again);
        a.inc(rbx);
        body();
        a.cmp(rbx, Rounds);
        a.jne(again);
    }

    // Two address spaces that differ in one page with code, where R9 leads. RSI and RDI are for CR3, the second one's in RSI.
    private static Action<SystemGuest> Spaces(Action<Assembler> first, Action<Assembler> second) => guest =>
    {
        guest.SetPage(Page, First | 7);
        for (ulong at = 0; at < 0x4000; at += 8) guest.Write(OtherTables + at, guest.Read<ulong>(SystemGuest.Tables + at));
        for (ulong level = 0; level < 3; level++) guest.Write(OtherTables + level * 0x1000, guest.Read<ulong>(OtherTables + level * 0x1000) + (OtherTables - SystemGuest.Tables));
        guest.Write(OtherEntry, Second | 7);
        guest.Place(First, 64, (a, _) => first(a));
        guest.Place(Second, 64, (a, _) => second(a));
        guest.State.Cr4 |= 1 << 17;
        guest.State.Cr3 = FirstCr3;
        (guest[6], guest[7], guest[9]) = (SecondCr3 | Keep, FirstCr3 | Keep, Page);
    };

    private static VcpuState Compare(bool user, Action<Assembler> body, Action<SystemGuest> prepare, VcpuStopKind end = VcpuStopKind.Halted)
    {
        VcpuState? state = null;
        foreach (var (nanoseconds, slice) in (ReadOnlySpan<(int, ulong)>)[(1, 3), (1, 100_000), (0, 0)])
        {
            using var interpreted = new SystemGuest<Interpreted>(64, body, user: user, nanosecondsPerInstruction: nanoseconds);
            using var translated = new SystemGuest<Translated>(64, body, user: user, nanosecondsPerInstruction: nanoseconds);
            prepare(interpreted);
            prepare(translated);
            Assert.Equal(end, EngineComparison.Run(interpreted, translated, slice));
            state = translated.State;
        }

        return state!;
    }
}
