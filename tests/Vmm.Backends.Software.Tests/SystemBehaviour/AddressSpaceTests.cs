using Iced.Intel;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>PCIDs: what is kept of an address space while another is current, and what has to go (Intel SDM vol. 3, 5.10).</summary>
public abstract class AddressSpaceTests<TEngine> where TEngine : IEngine
{
    private const ulong Page = 0x10000, First = 0x11000, Second = 0x12000, Descriptor = 0x13000, OtherTables = 0x320000, OtherEntry = OtherTables + 0x3000 + Page / 4096 * 8;
    private const ulong Keep = 1UL << 63, FirstCr3 = SystemGuest.Tables | 1, SecondCr3 = OtherTables | 2;

    [Fact]
    public void Spaces_TakenInTurns_HaveTheirOwnPages()
    {
        using var guest = Guest(a =>
        {
            a.mov(r15d, 50);
            var again = a.CreateLabel();
            a.Label(ref again);
            a.mov(cr3, rsi);
            a.add(rax, __qword_ptr[rbx]);
            a.add(__qword_ptr[rbx + 8], 1);
            a.mov(cr3, rdi);
            a.sub(rax, __qword_ptr[rbx]);
            a.add(__qword_ptr[rbx + 8], 2);
            a.dec(r15d);
            a.jne(again);
        });
        guest.RunToEnd();
        Assert.Equal((unchecked((ulong)-50 * 90), 50UL, 100UL), (guest[0], guest.Read<ulong>(First + 8), guest.Read<ulong>(Second + 8)));
    }

    [Theory]
    [InlineData(-1), InlineData(0), InlineData(1), InlineData(2), InlineData(3)]
    public void PageOfAnotherSpace_ChangedAndDropped_IsSeenWhenItReturns(int type)
    {
        using var guest = Guest(a =>
        {
            a.mov(cr3, rsi);
            a.mov(rax, __qword_ptr[rbx]);
            a.mov(cr3, rdi);
            a.mov(rdx, __qword_ptr[rbx]);
            a.mov(__qword_ptr[r8], r9);
            if (type < 0) a.btr(rsi, 63);
            else a.invpcid(rcx, __xmmword_ptr[rbp]);
            a.mov(cr3, rsi);
            a.mov(r10, __qword_ptr[rbx]);
            a.mov(cr3, rdi);
            a.mov(r11, __qword_ptr[rbx]);
        });
        (guest[1], guest[5], guest[8], guest[9]) = ((ulong)Math.Max(type, 0), Descriptor, SystemGuest.Entry(Page), Second | 7);
        guest.Write(Descriptor, 1UL);
        guest.Write(Descriptor + 8, Page);
        guest.RunToEnd();
        Assert.Equal((10UL, 100UL, 100UL, 100UL), (guest[0], guest[2], guest[10], guest[11]));
    }

    [Fact]
    public void Invlpg_OfTheCurrentSpace_DropsWhatWasKept()
    {
        using var guest = Guest(a =>
        {
            a.mov(cr3, rsi);
            a.mov(rax, __qword_ptr[rbx]);
            a.mov(cr3, rdi);
            a.mov(cr3, rsi);
            a.mov(__qword_ptr[r8], r9);
            a.invlpg(__byte_ptr[rbx]);
            a.mov(cr3, rdi);
            a.mov(cr3, rsi);
            a.mov(r10, __qword_ptr[rbx]);
        });
        (guest[8], guest[9]) = (SystemGuest.Entry(Page), Second | 7);
        guest.RunToEnd();
        Assert.Equal((10UL, 100UL), (guest[0], guest[10]));
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public void UserCode_OfEachSpace_IsItsOwn(bool changed)
    {
        using var guest = Guest(
            a =>
            {
                var again = a.CreateLabel();
                a.Label(ref again);
                a.call(rbx);
                a.@int(0x80);
                a.jmp(again);
            },
            user: true);
        guest.Handle(0x80, a =>
        {
            var done = a.CreateLabel();
            a.inc(r15d);
            a.cmp(r15d, 200);
            a.je(done);
            a.xchg(rsi, rdi);
            if (changed)
            {
                // The code of both is exchanged, which only a space that is entered without bit 63 has to see.
                a.mov(rax, __qword_ptr[r8]);
                a.xchg(__qword_ptr[r9], rax);
                a.mov(__qword_ptr[r8], rax);
                a.btr(rsi, 63);
            }

            a.mov(cr3, rsi);
            a.iretq();
            a.Label(ref done);
        });
        guest.Place(First, 64, (a, _) => { a.add(r12d, 1); a.ret(); });
        guest.Place(Second, 64, (a, _) => { a.add(r13d, 1); a.ret(); });
        (guest[8], guest[9]) = (SystemGuest.Entry(Page), OtherEntry);
        guest.RunToEnd();
        // Spaces in turns, and their pages too: the first is met 200 times, or each half the times.
        Assert.Equal(changed ? (200UL, 0UL) : (100UL, 100UL), (guest[12], guest[13]));
    }

    // Starts in the first space, with PCIDs on. RSI and RDI are for CR3, RBX is where the spaces differ.
    private static SystemGuest<TEngine> Guest(Action<Assembler> body, bool user = false)
    {
        var guest = new SystemGuest<TEngine>(64, body, user: user);
        guest.SetPage(Page, First | 7);
        for (ulong at = 0; at < 0x4000; at += 8) guest.Write(OtherTables + at, guest.Read<ulong>(SystemGuest.Tables + at));
        for (ulong level = 0; level < 3; level++)
        {
            var at = OtherTables + level * 0x1000;
            guest.Write(at, guest.Read<ulong>(at) + (OtherTables - SystemGuest.Tables));
        }

        guest.Write(OtherEntry, Second | 7);
        guest.Write(First, 10UL);
        guest.Write(Second, 100UL);
        guest.State.Cr4 |= 1 << 17;
        guest.State.Cr3 = FirstCr3;
        (guest[3], guest[6], guest[7]) = (Page, FirstCr3 | Keep, SecondCr3 | Keep);
        return guest;
    }
}
