using Iced.Intel;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>The same code, run by processors that may not do the same: each has the faults that it has alone.</summary>
public sealed class SharedModeTests
{
    private const int Rounds = 3000;

    [Theory]
    [InlineData(Crew.Interpreted), InlineData(0), InlineData(4), InlineData(16)]
    public void Store_ThatRingThreeMayNotMake_IsAFaultThereAlone(int translateAfter)
    {
        const ulong page = 0x7A000;
        using var crew = new Crew(translateAfter, 3, a =>
        {
            var loop = a.CreateLabel();
            a.mov(ebp, Rounds);
            a.Label(ref loop);
            a.add(rdi, 3);
            // Three bytes long.
            a.mov(__byte_ptr[rsi + 8], al);
            a.inc(r8);
            a.dec(ebp);
            a.jne(loop);
            // Both may do this, and none goes on.
            a.@int(0x80);
        });
        // It goes on behind the store.
        crew.Handle(14, a =>
        {
            a.inc(r14);
            a.add(__qword_ptr[rsp + 8], 3);
            a.add(rsp, 8);
            a.iretq();
        });
        crew.Handle(0x80, a => a.nop());
        crew.SetPage(page, page | 3);
        foreach (var member in crew.Members) (member.Gpr[6], member.Gpr[7], member.Gpr[8], member.Gpr[14]) = (page, 0, 0, 0);
        // Nobody else comes to ring 0 from outside, so that the stack is its own.
        EnterRingThree(crew.Members[1]);
        crew.Run();
        for (var i = 0; i < 3; i++)
        {
            var gpr = crew.Members[i].Gpr;
            Assert.Equal((i, 3UL * Rounds, (ulong)Rounds, i == 1 ? (ulong)Rounds : 0), (i, gpr[7], gpr[8], gpr[14]));
        }
    }

    [Theory]
    [InlineData(Crew.Interpreted), InlineData(0), InlineData(4), InlineData(16)]
    public void Vectors_OfAProcessorThatHasSwitchedTasks_AreAFaultThereAlone(int translateAfter)
    {
        // CR0.TS is set again and again by the second; its handler counts, and clears it.
        using var crew = new Crew(translateAfter, 3, a =>
        {
            Label loop = a.CreateLabel(), over = a.CreateLabel();
            a.mov(ebp, Rounds);
            a.pxor(xmm0, xmm0);
            a.movq(xmm1, rdi);
            a.Label(ref loop);
            a.paddq(xmm0, xmm1);
            a.call(SystemGuest.Routines + 0x8000);
            a.test(ebp, 7);
            a.jne(over);
            a.cmp(r15d, 1);
            a.jne(over);
            a.mov(rax, cr0);
            a.or(rax, 8);
            a.mov(cr0, rax);
            a.Label(ref over);
            a.dec(ebp);
            a.jne(loop);
            a.movq(r8, xmm0);
        });
        crew.Place(SystemGuest.Routines + 0x8000, 64, (a, _) => { a.paddq(xmm0, xmm1); a.ret(); });
        crew.Handle(7, a =>
        {
            a.inc(r14);
            a.clts();
            a.iretq();
        });
        for (var i = 0; i < 3; i++) (crew.Members[i].Gpr[7], crew.Members[i].Gpr[14]) = ((ulong)i + 5, 0);
        crew.Run();
        for (var i = 0; i < 3; i++) Assert.Equal((i, 2UL * Rounds * ((ulong)i + 5), i == 1 ? (ulong)Rounds / 8 : 0), (i, crew.Members[i].Gpr[8], crew.Members[i].Gpr[14]));
    }

    private static void EnterRingThree(VcpuState member)
    {
        member.Segments.AsSpan().Fill(SegmentState.Data32(SystemGuest.UserData) with { Attributes = 0xC0F3 });
        var code = SegmentState.Code64(SystemGuest.UserCode64);
        member.Segments[1] = code with { Attributes = (ushort)(code.Attributes | 0x60) };
    }
}
