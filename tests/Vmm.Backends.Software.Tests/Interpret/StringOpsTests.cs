using Iced.Intel;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.Interpret;

/// <summary>String instructions beyond one element: pages, overlap, faults in the middle, wrapping, events.</summary>
public sealed class StringOpsTests
{
    private const int Rax = 0, Rcx = 1, Rsi = 6, Rdi = 7;

    [Fact]
    public void RepMovsb_OverlappingUpwards_RepeatsThePattern()
    {
        using var guest = new GuestProgram(64, a => a.rep.movsb());
        guest.Bytes(0x20FFE, 1, 2, 3);
        (guest[Rsi], guest[Rdi], guest[Rcx]) = (0x20FFE, 0x21001, 3000);
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        Assert.Equal(Enumerable.Range(0, 3003).Select(i => (byte)(1 + i % 3)), guest.Bytes(0x20FFE, 3003));
        Assert.Equal((0x20FFEUL + 3000, 0x21001UL + 3000, 0UL), (guest[Rsi], guest[Rdi], guest[Rcx]));
    }

    [Theory]
    [InlineData(0x20000, 0x30008, false)]
    [InlineData(0x20003, 0x30FFD, false)]
    [InlineData(0x20010, 0x20003, false)]
    [InlineData(0x25FF9, 0x36FF9, true)]
    [InlineData(0x26003, 0x26FFC, true)]
    public void RepMovsq_AcrossPages_CopiesAsOneByOne(ulong from, ulong to, bool down)
    {
        const int Count = 1500;
        using var guest = new GuestProgram(64, a => a.rep.movsq());
        var memory = new byte[0x40000];
        new Random(7).NextBytes(memory.AsSpan(0x18000));
        guest.Bytes(0x18000, memory[0x18000..]);
        (guest[Rsi], guest[Rdi], guest[Rcx]) = (from, to, Count);
        if (down) guest.State.Rflags |= 0x400;
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        for (var i = 0; i < Count; i++)
        {
            var step = (down ? -8 : 8) * i;
            memory.AsSpan((int)from + step, 8).ToArray().CopyTo(memory, (int)to + step);
        }

        Assert.Equal(memory[0x18000..], guest.Bytes(0x18000, 0x28000));
    }

    [Fact]
    public void RepMovsd_TargetPageMissing_StopsAtTheElementThatFaults()
    {
        using var guest = new GuestProgram(64, a => a.rep.movsd()).WithSmallPages(0x31000);
        guest.Bytes(0x20000, [.. Enumerable.Range(0, 4096).Select(i => (byte)i)]);
        (guest[Rsi], guest[Rdi], guest[Rcx]) = (0x20000, 0x30F02, 1000);
        Assert.Equal(VcpuStopKind.Shutdown, guest.Run().Kind);
        // 63 whole elements fit before the page ends; the 64th crosses into the missing one.
        Assert.Equal((0x20000UL + 252, 0x30F02UL + 252, 937UL, GuestProgram.Start), (guest[Rsi], guest[Rdi], guest[Rcx], guest.State.Rip));
        Assert.Equal(0x31000UL, guest.State.Cr2);
        Assert.Equal(guest.Bytes(0x20000, 252), guest.Bytes(0x30F02, 252));
        Assert.Equal(new byte[2], guest.Bytes(0x30FFE, 2));
    }

    [Theory]
    [InlineData(1), InlineData(2), InlineData(4), InlineData(8)]
    public void RepStos_BothDirections_FillsExactly(int size)
    {
        foreach (var down in (bool[])[false, true])
        {
            using var guest = new GuestProgram(64, a => { switch (size) { case 1: a.rep.stosb(); break; case 2: a.rep.stosw(); break; case 4: a.rep.stosd(); break; default: a.rep.stosq(); break; } });
            const int Count = 2222;
            var start = down ? 0x29001UL : 0x20FFFUL;
            (guest[Rax], guest[Rdi], guest[Rcx]) = (0x1122334455667788, start, Count);
            if (down) guest.State.Rflags |= 0x400;
            Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
            var low = down ? start - (ulong)((Count - 1) * size) : start;
            var pattern = BitConverter.GetBytes(0x1122334455667788).AsSpan(0, size).ToArray();
            Assert.Equal(Enumerable.Range(0, Count).SelectMany(_ => pattern), guest.Bytes(low, Count * size));
            Assert.Equal((0, 0), (guest.Read<byte>(low - 1), guest.Read<byte>(low + Count * (ulong)size)));
        }
    }

    [Theory]
    [InlineData(0), InlineData(1), InlineData(4000), InlineData(9000)]
    public void RepneScasb_FindsTheByte_AndStopsBehindIt(int at)
    {
        using var guest = new GuestProgram(64, a => a.repne.scasb());
        guest.Write(0x20123 + (ulong)at, (byte)0x5A);
        (guest[Rax], guest[Rdi], guest[Rcx]) = (0x5A, 0x20123, 20000);
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        Assert.Equal((0x20124UL + (ulong)at, 19999UL - (ulong)at, 0x40UL), (guest[Rdi], guest[Rcx], guest.State.Rflags & 0x41));
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public void RepeCmpsw_Difference_SetsFlagsOfThatPair(bool down)
    {
        using var guest = new GuestProgram(64, a => a.repe.cmpsw());
        var (left, right) = down ? (0x24000UL, 0x34001UL) : (0x20FFFUL, 0x30002UL);
        var move = down ? -2L * 3000 : 2L * 3000;
        guest.Write((ulong)((long)left + move), (ushort)1);
        guest.Write((ulong)((long)right + move), (ushort)2);
        (guest[Rsi], guest[Rdi], guest[Rcx]) = (left, right, 5000);
        if (down) guest.State.Rflags |= 0x400;
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        Assert.Equal(1999UL, guest[Rcx]);
        Assert.Equal((ulong)((long)left + move + (down ? -2 : 2)), guest[Rsi]);
        Assert.Equal(0x81UL, guest.State.Rflags & 0x8C1);
    }

    [Fact]
    public void RepStosb_SixteenBitAddress_WrapsAtSixtyFourKilobytes()
    {
        using var guest = new GuestProgram(16, a => { a.mov(ax, 0x2000); a.mov(es, ax); a.mov(al, 0x77); a.rep.stosb(); });
        (guest[Rdi], guest[Rcx]) = (0xABCD_FFFE, 0xABCD_0005);
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        Assert.Equal(new byte[] { 0x77, 0x77, 0x77, 0 }, guest.Bytes(0x20000, 4));
        Assert.Equal(new byte[] { 0, 0x77, 0x77 }, guest.Bytes(0x2FFFD, 3));
        Assert.Equal((0xABCD_0003UL, 0xABCD_0000UL), (guest[Rdi], guest[Rcx]));
    }

    [Fact]
    public void RepMovsw_ProtectedModeLimit_FaultsAtTheElementBeyondIt()
    {
        using var guest = new GuestProgram(32, a => a.rep.movsw());
        guest.State.Segments[0] = guest.State.Segments[0] with { Limit = 0x30008, Attributes = 0x4093 };
        (guest[Rsi], guest[Rdi], guest[Rcx]) = (0x20000, 0x30000, 100);
        Assert.Equal(VcpuStopKind.Shutdown, guest.Run().Kind);
        // Offsets 0x30000 to 0x30007 hold four words; the fifth would end at 0x30009.
        Assert.Equal((0x30008UL, 96UL), (guest[Rdi], guest[Rcx]));
    }

    [Fact]
    public void Lods_SegmentOverride_UsesItsBase()
    {
        using var guest = new GuestProgram(64, a => a.db(0x65, 0x48, 0xAD));
        guest.State.Segments[5] = guest.State.Segments[5] with { Base = 0x20000 };
        guest.Write(0x20100, 0x0123456789ABCDEFUL);
        guest[Rsi] = 0x100;
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        Assert.Equal((0x0123456789ABCDEFUL, 0x108UL), (guest[Rax], guest[Rsi]));
    }

    [Fact]
    public void RepStosq_OverCodeAhead_RunsTheNewCode()
    {
        // The ten bytes behind the string instruction become MOV AL,BL and HLTs: five MOV AL, 1 would set AL otherwise.
        using var guest = new GuestProgram(64, a =>
        {
            a.rep.stosq();
            for (var i = 0; i < 8; i++) a.mov(cl, 1);
        });
        (guest[Rax], guest[Rdi], guest[Rcx]) = (0xF4F4F4F4F4F4D888, GuestProgram.Start + 3, 1);
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        Assert.Equal(0UL, guest[Rcx]);
        Assert.Equal(GuestProgram.Start + 6, guest.State.Rip);
    }

    [Fact]
    public void RepLodsd_KickedOnTheWay_LeavesAtTheInstructionAndGoesOn()
    {
        using var guest = new GuestProgram(64, a => a.rep.lodsd());
        var device = new Counting(() => guest.Cpu.Kick());
        guest.Bus.Mmio.Map(0x3F000000, 0x10000, device, "counting");
        (guest[Rsi], guest[Rcx]) = (0x3F000000, 10000);
        MapDevicePage(guest);
        Assert.Equal(VcpuStopKind.Kicked, guest.Run().Kind);
        Assert.Equal((10000UL - 4096, GuestProgram.Start), (guest[Rcx], guest.State.Rip));
        Assert.Equal(0UL, guest.Cpu.InstructionsRetired);
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        Assert.Equal((0UL, 10000), (guest[Rcx], device.Reads));
        Assert.Equal(2UL, guest.Cpu.InstructionsRetired);
    }

    [Fact]
    public void RepMovsb_SingleStep_TrapsAfterEachIteration()
    {
        using var guest = new GuestProgram(16, a =>
        {
            var trap = a.CreateLabel();
            var main = a.CreateLabel();
            a.jmp(main);
            a.Label(ref trap);
            a.inc(__word_ptr[0x600]);
            a.iret();
            a.Label(ref main);
            a.mov(__word_ptr[4], 0x8002);
            a.mov(__word_ptr[6], 0);
            a.pushf();
            a.pop(ax);
            a.or(ax, 0x100);
            a.push(ax);
            a.popf();
            a.rep.movsb();
            a.and(ax, 0xFEFF);
            a.push(ax);
            a.popf();
        });
        (guest[Rsi], guest[Rdi], guest[Rcx]) = (0x700, 0x800, 5);
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        // Five iterations, AND, PUSH and the POPF that ends it.
        Assert.Equal((0UL, 8), (guest[Rcx] & 0xFFFF, guest.Read<ushort>(0x600)));
    }

    private static void MapDevicePage(GuestProgram guest)
    {
        guest.WithSmallPages();
        // One large uncached page over the device's window.
        guest.Write(GuestProgram.Tables + 0x2000 + (0x3F000000UL >> 21) * 8, 0x3F000000UL | 0x97);
    }

    private sealed class Counting(Action kick) : IIoHandler
    {
        public int Reads { get; private set; }

        public ulong Read(uint offset, int size)
        {
            if (++Reads == 10) kick();
            return offset;
        }

        public void Write(uint offset, int size, ulong value)
        {
        }
    }
}
