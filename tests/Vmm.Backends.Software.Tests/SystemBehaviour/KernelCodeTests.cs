using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Branches from page to page in the upper half, whose targets come to be elsewhere or are written to.</summary>
public abstract class KernelCodeTests<TEngine> where TEngine : IEngine
{
    private const ulong High = 0xFFFF_8000_0000_0000, Page = 0x10000, First = 0x11000, Second = 0x12000;
    private const int Calls = 20, Rounds = 6;

    [Theory]
    [InlineData(true, "invlpg"), InlineData(true, "cr4"), InlineData(true, "invpcid")]
    [InlineData(false, "invlpg"), InlineData(false, "cr4"), InlineData(false, "invpcid"), InlineData(false, "cr3")]
    public void Call_ToAPageThatIsExchanged_LeadsToWhatIsThere(bool global, string flush)
    {
        using var guest = Guest(global, a =>
        {
            a.xchg(rdi, r8);
            a.mov(__qword_ptr[rsi], rdi);
            switch (flush)
            {
                case "invlpg": a.invlpg(__byte_ptr[rbx]); break;
                case "invpcid": a.invpcid(r9, __xmmword_ptr[rbp]); break;
                case "cr3":
                    a.mov(rax, cr3);
                    a.mov(cr3, rax);
                    break;
                default:
                    a.mov(rax, cr4);
                    a.btc(rax, 7);
                    a.mov(cr4, rax);
                    a.btc(rax, 7);
                    a.mov(cr4, rax);
                    break;
            }
        });
        var flags = global ? 0x107UL : 7;
        (guest[7], guest[8], guest[9]) = (First | flags, Second | flags, 2);
        guest.RunToEnd();
        Assert.Equal((Calls * Rounds / 2, Calls * Rounds / 2), ((int)guest[12], (int)guest[13]));
    }

    [Theory]
    [InlineData(true), InlineData(false)]
    public void Call_ToCodeThatIsWritten_RunsWhatIsThere(bool global)
    {
        // The number in ADD R12, 1 is its fourth byte.
        using var guest = Guest(global, a => a.inc(__byte_ptr[rsi]));
        guest[6] = First + 3;
        guest.RunToEnd();
        Assert.Equal(Calls * (1 + 2 + 3 + 4 + 5 + 6), (int)guest[12]);
    }

    // Calls and jumps to a page from two others, in rounds, with something done after each.
    private static SystemGuest<TEngine> Guest(bool global, Action<Assembler> between)
    {
        var guest = new SystemGuest<TEngine>(64, a =>
        {
            Label round = a.CreateLabel(), again = a.CreateLabel();
            a.mov(r15d, Rounds);
            a.Label(ref round);
            a.mov(ecx, Calls / 2);
            a.Label(ref again);
            a.call(Page);
            a.call(0x9000);
            a.dec(ecx);
            a.jne(again);
            between(a);
            a.dec(r15d);
            a.jne(round);
        });
        guest.Place(0x9000, 64, (a, _) => a.jmp(Page));
        guest.Place(First, 64, (a, _) => { a.add(r12, 1); a.ret(); });
        guest.Place(Second, 64, (a, _) => { a.add(r13, 1); a.ret(); });
        guest.Write(SystemGuest.Tables + 256 * 8, SystemGuest.Tables + 0x1000 | 7);
        guest.SetPage(Page, First | (global ? 0x107UL : 7));
        guest.State.Cr4 |= 0x80;
        guest.State.Rip = High + SystemGuest.Start;
        (guest[3], guest[5], guest[6]) = (High + Page, 0x13000, SystemGuest.Entry(Page));
        return guest;
    }
}
