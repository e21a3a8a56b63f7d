using Vmm.Core.Backends;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Loops that never end, whatever branches they are made of, are left when another thread asks; and branches lead where they should meanwhile.</summary>
public abstract class LoopTests<TEngine> where TEngine : IEngine
{
    private const ulong First = 0x70FF0, Second = 0x71000;

    [Fact]
    public void Returns_Alone_AreLeft()
    {
        using var guest = new SystemGuest<TEngine>(64, a => { a.push(rax); a.ret(); });
        guest[0] = SystemGuest.Start;
        RunUntilKicked(guest);
    }

    [Fact]
    public void IndirectJumps_InTwoPages_AreLeft()
    {
        using var guest = new SystemGuest<TEngine>(64, a => { a.xchg(rax, rbx); a.jmp(rax); });
        guest.Place(Second, 64, (a, _) => { a.xchg(rax, rbx); a.jmp(rax); });
        (guest[0], guest[3]) = (SystemGuest.Start, Second);
        RunUntilKicked(guest);
    }

    [Fact]
    public void IndirectCalls_AreLeft()
    {
        using var guest = new SystemGuest<TEngine>(64, a => { a.mov(rsp, rbx); a.call(rax); });
        (guest[0], guest[3]) = (SystemGuest.Start, SystemGuest.Stack);
        RunUntilKicked(guest);
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public void DirectJumps_AcrossPages_AreLeft(bool calls)
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.jmp(First));
        guest.Place(First, 64, (a, _) => a.jmp(Second));
        guest.Place(Second, 64, (a, _) =>
        {
            a.mov(rsp, rbx);
            if (calls) a.call(First);
            else a.jmp(First);
        });
        guest[3] = SystemGuest.Stack;
        RunUntilKicked(guest);
    }

    [Theory]
    [InlineData(-32), InlineData(-256)]
    public void DirectJumps_OverTheEndOfTheAddressSpace_AreLeft(int high)
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.nop());
        MapLastPage(guest);
        Jump(0x200000 + high, (int)SystemGuest.Start - high);
        Jump((int)SystemGuest.Start, high - (int)SystemGuest.Start);
        RunUntilKicked(guest);

        void Jump(long at, int distance) => guest.Bytes((ulong)at, [0xE9, .. BitConverter.GetBytes(distance - 5)]);
    }

    [Fact]
    public void DirectJump_AsTheLastInstruction_IsLeft()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.nop());
        MapLastPage(guest);
        guest.Bytes(0x200000 - 32, [.. Enumerable.Repeat<byte>(0x90, 27), 0xE9, .. BitConverter.GetBytes(-32)]);
        guest.GoTo(ulong.MaxValue - 31);
        RunUntilKicked(guest);
    }

    [Theory]
    [InlineData(0UL, true), InlineData(1UL, true), InlineData(2UL, true), InlineData(0x4000UL, true)]
    [InlineData(0UL, false), InlineData(0x4000UL, false), InlineData(0xFFFF_FFFF_FFFF_FFFEUL, false), InlineData(0xFFFF_FFFF_FFFF_FFFCUL, false)]
    public void Branch_WhileSomethingWaits_LeadsToItsTarget(ulong target, bool returns)
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            var next = a.CreateLabel();
            a.mov(__dword_ptr[rbp + 0xF0], 0x1FF);
            a.mov(__dword_ptr[rbp + 0x300], 0x40050);
            a.push((int)target);
            a.jmp(next);
            a.Label(ref next);
            // The interrupt comes behind the branch.
            a.sti();
            if (returns) a.ret();
            else a.jmp(target);
        });
        guest.Write(SystemGuest.Tables + 0x1018, 0xC0000083UL);
        MapLastPage(guest);
        guest[5] = 0xFEE00000;
        Assert.Equal(new Trap(0x50, 0, target), guest.RunToTrap());
    }

    // The last page of the address space is the last of the first 2 MiB too.
    private static void MapLastPage(SystemGuest guest)
    {
        foreach (var table in (ulong[])[0, 0x1000, 0x2000]) guest.Write(SystemGuest.Tables + table + 0xFF8, SystemGuest.Tables + table + 0x1000 | 7);
    }

    private static void RunUntilKicked(SystemGuest guest)
    {
        using var timer = new Timer(_ => guest.Cpu.Kick(), null, 20, 20);
        for (var round = 0; round < 3; round++) Assert.Equal(VcpuStopKind.Kicked, guest.Run().Kind);
    }
}
