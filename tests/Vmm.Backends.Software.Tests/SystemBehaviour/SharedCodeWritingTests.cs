using System.Diagnostics;
using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Code that is written, by a processor or from outside, while several processors run it.</summary>
public sealed class SharedCodeWritingTests
{
    // Where other work leaves few moments for this, fewer versions have to do.
    private static readonly TimeSpan s_enough = TimeSpan.FromMilliseconds(300);

    public static MatrixTheoryData<int, PatchKind, PatchPlace> Patches => new([0, 4, 16], Enum.GetValues<PatchKind>(), Enum.GetValues<PatchPlace>());

    public static MatrixTheoryData<int, PatchKind, PatchPlace> PatchesByDevices => new([Crew.Interpreted, 4, 16], Enum.GetValues<PatchKind>(), [PatchPlace.Far, PatchPlace.Kernel]);

    [Theory, MemberData(nameof(Patches))]
    public void Instruction_ExchangedByAProcessor_IsTheNewOneForAllThatHaveSeenItsNumber(int translateAfter, PatchKind kind, PatchPlace place)
    {
        const int versions = 200;
        using var crew = new Crew(translateAfter, 3, a => a.nop());
        new PatchedRoutine(kind, place).Prepare(crew, 0, 1, versions, exchange: place == PatchPlace.Near);
        for (var i = 0; i < 3; i++) crew.Launch(i);
        var watch = Stopwatch.StartNew();
        SpinWait.SpinUntil(() => watch.Elapsed > s_enough || !crew.IsRunning(0));
        PatchedRoutine.BeEnough(crew);
        crew.Join();
        PatchedRoutine.AssertRight(crew, 1, versions);
    }

    [Theory, MemberData(nameof(PatchesByDevices))]
    public void Instruction_ExchangedByADevice_IsTheNewOneForAllThatHaveSeenItsNumber(int translateAfter, PatchKind kind, PatchPlace place)
    {
        const uint versions = 100;
        const int readers = 2;
        using var crew = new Crew(translateAfter, readers, a => a.nop());
        // Each way to serialize with each of these.
        var routine = new PatchedRoutine(kind, place, (int)kind + translateAfter / 4);
        routine.Prepare(crew, null, 0, (int)versions);
        for (var i = 0; i < readers; i++) crew.Launch(i);
        var watch = Stopwatch.StartNew();
        for (uint version = 1, last = versions; version <= last; version++)
        {
            if (watch.Elapsed > s_enough) last = version;
            routine.Write(crew, version, version == last);
            crew.WaitFor(() => PatchedRoutine.IsAnswered(crew, readers, version));
        }

        crew.Join();
        PatchedRoutine.AssertRight(crew, 0, (int)versions);
    }

    [Theory]
    [InlineData(Crew.Interpreted, "movsb"), InlineData(0, "movsb"), InlineData(0, "vectors"), InlineData(0, "alias")]
    [InlineData(4, "movsb"), InlineData(4, "alias"), InlineData(16, "vectors"), InlineData(16, "alias")]
    public void Function_WrittenAnewWhileOthersWait_IsTheNewOneForAll(int translateAfter, string how)
    {
        const ulong function = 0x72000, other = 0x1F0000, templates = 0x74000, writer = 0x73000, version = 0x75000, answers = 0x75100, last = 0x75040, values = 0x76000;
        const int size = 128, versions = 60, calls = 40, loops = 40;
        using var crew = new Crew(translateAfter, 3, a =>
        {
            Label again = a.CreateLabel(), wait = a.CreateLabel(), seen = a.CreateLabel(), exact = a.CreateLabel(), right = a.CreateLabel();
            a.mov(r13, rbx);
            a.Label(ref again);
            a.inc(ebp);
            a.Label(ref wait);
            a.cmp(__dword_ptr[version], ebp);
            a.je(seen);
            a.@out(Crew.Yield, al);
            a.jmp(wait);
            a.Label(ref seen);
            a.xor(eax, eax);
            a.cpuid();
            a.mov(r11d, calls);
            a.Label(ref exact);
            a.call(function);
            a.mov(ecx, ebp);
            a.and(ecx, 3);
            a.cmp(eax, __dword_ptr[rcx * 4 + (long)values]);
            a.je(right);
            a.inc(edi);
            a.Label(ref right);
            a.dec(r11d);
            a.jne(exact);
            a.mov(__dword_ptr[r15 * 8 + (long)answers], ebp);
            a.cmp(__dword_ptr[last], ebp);
            a.jne(again);
        });
        crew.Place(writer, 64, (a, _) =>
        {
            Label loop = a.CreateLabel(), wait = a.CreateLabel(), final = a.CreateLabel(), write = a.CreateLabel();
            a.mov(r12, (long)(how == "alias" ? other : function));
            a.Label(ref loop);
            a.inc(ebp);
            a.cmp(ebp, versions);
            a.je(final);
            a.cmp(__dword_ptr[last + 4], 0);
            a.je(write);
            a.Label(ref final);
            a.mov(__dword_ptr[last], ebp);
            a.Label(ref write);
            a.mov(esi, ebp);
            a.and(esi, 3);
            a.imul(esi, esi, size);
            a.mov(eax, (uint)templates);
            a.add(rsi, rax);
            a.mov(rdi, r12);
            a.mov(ecx, size);
            if (how == "vectors")
            {
                for (var at = 0; at < size; at += 16)
                {
                    a.movups(xmm0, __xmmword_ptr[rsi + at]);
                    a.movups(__xmmword_ptr[rdi + at], xmm0);
                }
            }
            else
            {
                a.rep.movsb();
            }

            a.mov(__dword_ptr[version], ebp);
            a.Label(ref wait);
            a.@out(Crew.Yield, al);
            for (var reader = 1UL; reader < 3; reader++)
            {
                a.cmp(__dword_ptr[answers + reader * 8], ebp);
                a.jne(wait);
            }

            a.cmp(__dword_ptr[last], ebp);
            a.jne(loop);
        });
        for (var i = 0; i < 4; i++)
        {
            var (first, second) = (i * 7 + 1, 1000 << i);
            crew.Place(templates + (ulong)(i * size), 64, (a, _) =>
            {
                Label loop = a.CreateLabel(), over = a.CreateLabel();
                a.mov(ecx, loops);
                a.xor(eax, eax);
                a.Label(ref loop);
                a.add(eax, first);
                a.test(ecx, 1 << i);
                a.jne(over);
                a.add(eax, second);
                a.Label(ref over);
                a.mov(__dword_ptr[r13 + rcx * 8], eax);
                a.add(eax, __dword_ptr[r13 + rcx * 8 + 4]);
                a.dec(ecx);
                a.jne(loop);
                a.ret();
            });
            crew.Write(values + (ulong)i * 4, (uint)Enumerable.Range(1, loops).Sum(c => first + ((c & 1 << i) == 0 ? second : 0)));
        }

        crew.SetPage(other, function | 7);
        crew.Write(last, uint.MaxValue);
        crew.Members[0].Rip = writer;
        foreach (var member in crew.Members) (member.Gpr[5], member.Gpr[7]) = (0, 0);
        for (var i = 0; i < 3; i++) crew.Launch(i);
        var watch = Stopwatch.StartNew();
        SpinWait.SpinUntil(() => watch.Elapsed > s_enough || !crew.IsRunning(0));
        crew.Write(last + 4, 1u);
        crew.Join();
        foreach (var member in crew.Members[1..])
        {
            Assert.Equal(0UL, member.Gpr[7]);
            Assert.InRange(member.Gpr[5], 2UL, (ulong)versions);
        }
    }
}
