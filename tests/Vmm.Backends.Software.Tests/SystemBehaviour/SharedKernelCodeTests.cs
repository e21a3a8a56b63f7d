using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>
/// Branches from page to page of a kernel, in code that processors have in common, to pages that they do not map alike: they have page tables of
/// their own, or change them at different times, or take other bits of them to mean something.
/// </summary>
public sealed class SharedKernelCodeTests
{
    private const ulong High = 0xFFFF_8000_0000_0000, Page = 0x10000, First = 0x11000, Second = 0x12000, Through = 0x9000, Descriptor = 0x13000, Global = 0x100;
    private const int Calls = 40;

    private static readonly int[] s_thresholds = [Crew.Interpreted, 0, 4, 16];

    /// <summary>How a processor forgets what it knew of a page.</summary>
    public enum Flush
    {
        None, Invlpg, Cr4, Invpcid, Cr3,
    }

    public static MatrixTheoryData<int, bool, bool> Mappings => new(s_thresholds, [false, true], [false, true]);

    public static TheoryData<int, bool, bool, Flush> Changes => new(
        from translateAfter in s_thresholds
        from global in (bool[])[false, true]
        from high in (bool[])[false, true]
        from flush in (Flush[])[Flush.Invlpg, Flush.Cr4, Flush.Invpcid, Flush.Cr3]
        where !global || flush != Flush.Cr3
        select (translateAfter, global, high, flush));

    [Theory, MemberData(nameof(Mappings))]
    public void Page_MappedDifferentlyByEach_LeadsEachToItsOwn(int translateAfter, bool global, bool high)
    {
        const ulong rounds = 300;
        using var crew = Guest(translateAfter, 3, global, high, Flush.None);
        // The third as the first.
        Map(crew, 1, Second, global);
        foreach (var member in crew.Members) member.Gpr[14] = rounds;
        crew.Run();
        for (var i = 0; i < 3; i++) AssertCalls(crew, i, i == 1 ? 0 : rounds, i == 1 ? rounds : 0);
    }

    [Theory, MemberData(nameof(Changes))]
    public void Page_MappedAnewByOne_LeadsTheOthersWhereItDid(int translateAfter, bool global, bool high, Flush flush)
    {
        const ulong rounds = 300;
        using var crew = Guest(translateAfter, 3, global, high, flush);
        // The first keeps one page, the last the other, and the one between goes to and fro.
        Map(crew, 2, Second, global);
        (crew.Members[0].Gpr[14], crew.Members[1].Gpr[14], crew.Members[2].Gpr[14]) = (rounds, rounds, rounds);
        crew.Members[1].Gpr[6] = Crew.EntryOf(1, Page);
        crew.Members[1].Gpr[8] = First ^ Second;
        crew.Run();
        AssertCalls(crew, 0, rounds, 0);
        AssertCalls(crew, 1, rounds / 2, rounds / 2);
        AssertCalls(crew, 2, 0, rounds);
    }

    [Theory, MemberData(nameof(Changes))]
    public void Page_MappedAnewByEachOnItsOwn_LeadsEachToItsOwn(int translateAfter, bool global, bool high, Flush flush)
    {
        const ulong rounds = 200;
        using var crew = Guest(translateAfter, 2, global, high, flush);
        for (var i = 0; i < 2; i++)
        {
            (crew.Members[i].Gpr[6], crew.Members[i].Gpr[8], crew.Members[i].Gpr[14]) = (Crew.EntryOf(i, Page), First ^ Second, rounds);
        }

        crew.Run();
        for (var i = 0; i < 2; i++) AssertCalls(crew, i, rounds / 2, rounds / 2);
    }

    [Theory]
    [InlineData(0, "absent"), InlineData(4, "absent"), InlineData(16, "absent"), InlineData(Crew.Interpreted, "absent")]
    [InlineData(0, "no-execute"), InlineData(4, "no-execute"), InlineData(16, "no-execute"), InlineData(0, "user"), InlineData(4, "user"), InlineData(16, "user")]
    public void Page_ThatOneMayNotExecute_IsAFaultForThatOneAlone(int translateAfter, string why)
    {
        // The second takes the right away after every fourth round, so that branches are linked between; its handler counts in R10, and gives it back, which needs no flush.
        const ulong rounds = 100;
        using var crew = Guest(translateAfter, 3, global: true, high: true, Flush.Invlpg, except: 3);
        crew.Handle(14, a =>
        {
            a.inc(r10);
            a.xor(__qword_ptr[rsi], r8);
            a.add(rsp, 8);
            a.iretq();
        });
        var taken = why switch { "absent" => 1UL, "no-execute" => 1UL << 63, _ => 4UL };
        // Ring 0 may not run user pages where SMEP is on: the second's are its own, but for the target in turns.
        for (ulong page = 0; page < 512 && why == "user"; page++) crew.Write(Crew.EntryOf(1, page * 4096), crew.Read<ulong>(Crew.EntryOf(1, page * 4096)) & ~4UL);
        if (why == "user") crew.Members[1].Cr4 |= 1 << 20;
        (crew.Members[1].Gpr[6], crew.Members[1].Gpr[8], crew.Members[1].Gpr[10]) = (Crew.EntryOf(1, Page), taken, 0);
        foreach (var member in crew.Members) member.Gpr[14] = rounds;
        crew.Run();
        for (var i = 0; i < 3; i++) AssertCalls(crew, i, rounds, 0);
        Assert.Equal(rounds / 4, crew.Members[1].Gpr[10]);
    }

    [Theory]
    [InlineData(0), InlineData(4), InlineData(16)]
    public void GlobalPage_WithoutTheirBitInOnesControlRegister_GoesWithItsAddressSpace(int translateAfter)
    {
        const ulong rounds = 200;
        using var crew = Guest(translateAfter, 2, global: true, high: true, Flush.Cr3);
        crew.Members[1].Cr4 &= ~0x80UL;
        (crew.Members[1].Gpr[6], crew.Members[1].Gpr[8]) = (Crew.EntryOf(1, Page), First ^ Second);
        foreach (var member in crew.Members) member.Gpr[14] = rounds;
        crew.Run();
        AssertCalls(crew, 0, rounds, 0);
        AssertCalls(crew, 1, rounds / 2, rounds / 2);
    }

    private static void AssertCalls(Crew crew, int member, ulong first, ulong second) =>
        Assert.Equal((member, first * Calls, second * Calls), (member, crew.Members[member].Gpr[12], crew.Members[member].Gpr[13]));

    private static void Map(Crew crew, int member, ulong page, bool global) => crew.Write(Crew.EntryOf(member, Page), page | 7 | (global ? Global : 0));

    // R14 rounds of calls to a page, from two others; after each, but when some bits of R14 are set, R8 changes the entry at RSI; and the page is flushed.
    private static Crew Guest(int translateAfter, int vcpus, bool global, bool high, Flush flush, int except = 0)
    {
        var half = high ? High : 0;
        var crew = new Crew(translateAfter, vcpus, a =>
        {
            Label round = a.CreateLabel(), again = a.CreateLabel(), over = a.CreateLabel();
            a.xor(r12d, r12d);
            a.xor(r13d, r13d);
            Crew.Meet(a);
            a.Label(ref round);
            a.mov(ecx, Calls / 2);
            a.Label(ref again);
            a.call(Page);
            a.call(Through);
            a.dec(ecx);
            a.jne(again);
            a.test(r14d, except);
            a.jne(over);
            a.xor(__qword_ptr[rsi], r8);
            a.Label(ref over);
            switch (flush)
            {
                case Flush.None: a.nop(); break;
                case Flush.Invlpg: a.invlpg(__byte_ptr[rdi]); break;
                case Flush.Invpcid: a.invpcid(r11, __xmmword_ptr[rbp]); break;
                case Flush.Cr3:
                    a.mov(rax, cr3);
                    a.mov(cr3, rax);
                    break;
                case Flush.Cr4:
                    for (var i = 0; i < 2; i++)
                    {
                        a.mov(rax, cr4);
                        a.btc(rax, 7);
                        a.mov(cr4, rax);
                    }

                    break;
            }

            a.dec(r14);
            a.jne(round);
        });
        crew.Place(Through, 64, (a, _) => a.jmp(Page));
        crew.Place(First, 64, (a, _) => { a.add(r12, 1); a.ret(); });
        crew.Place(Second, 64, (a, _) => { a.add(r13, 1); a.ret(); });
        crew.SetPage(Page, First | 7 | (global ? Global : 0));
        // The pages that lead there are global too.
        foreach (var page in (ReadOnlySpan<ulong>)[SystemGuest.Start, Through]) crew.SetPage(page, page | 7 | (global ? Global : 0));
        crew.Separate();
        for (var i = 0; i < vcpus; i++)
        {
            var member = crew.Members[i];
            member.Cr4 |= 0x80;
            member.Rip += half;
            (member.Gpr[5], member.Gpr[6], member.Gpr[7], member.Gpr[8], member.Gpr[11]) = (Descriptor, Crew.OwnOf(i), half + Page, 0, 2);
        }

        return crew;
    }
}
