using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>One page of code at many addresses, as libraries are in processes.</summary>
public class SharedCodeTests
{
    private const ulong Routine = 0x11000, First = 0x100000;
    private const int Places = 100;

    [Theory]
    [InlineData(3, 1, 16)]
    [InlineData(1000, Places, long.MaxValue)]
    public void Routine_AtManyAddresses_IsTranslatedForThoseWhereItRunsOften(int rounds, long least, long most)
    {
        using var guest = Guest<Heated>(rounds);
        guest.RunToEnd();
        Assert.Equal((ulong)(rounds * Places), guest[0]);
        Assert.InRange(guest.Cpu.Counters.TranslatedBlocks, least, most);
    }

    [Fact]
    public void Routine_AtManyAddresses_InLittleMemoryForCode_RunsRight()
    {
        using var guest = Guest<CrampedWarmed>(2000);
        guest.RunToEnd();
        Assert.Equal(2000UL * Places, guest[0]);
    }

    [Fact]
    public void Routine_WrittenTo_ChangesAtAllAddresses()
    {
        using var guest = Guest<Translated>(20, changes: true);
        guest.RunToEnd();
        Assert.Equal(20UL * (20 + 1) / 2 * Places, guest[0]);
    }

    // Calls it at one address after the other; it adds one, or after each round one more than in that.
    private static SystemGuest Guest<TEngine>(int rounds, bool changes = false) where TEngine : IEngine
    {
        var guest = new SystemGuest<TEngine>(64, a =>
        {
            a.mov(r15d, rounds);
            var again = a.CreateLabel();
            a.Label(ref again);
            a.mov(rbx, First);
            a.mov(ebp, Places);
            var next = a.CreateLabel();
            a.Label(ref next);
            a.call(rbx);
            a.add(rbx, 0x1000);
            a.dec(ebp);
            a.jne(next);
            // The immediate operand of ADD EAX.
            if (changes) a.inc(__byte_ptr[Routine + 1]);
            a.dec(r15d);
            a.jne(again);
        });
        guest.Place(Routine, 64, (a, _) => { a.add(eax, 1); a.ret(); });
        for (var i = 0; i < Places; i++) guest.SetPage(First + (ulong)i * 0x1000, Routine | 7);
        return guest;
    }
}
