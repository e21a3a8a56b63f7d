using Iced.Intel;
using Vmm.Core.Backends;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.Interpret;

/// <summary>Integer instructions that the native oracle cannot run: 16- and 32-bit forms, privilege, several processors.</summary>
public sealed class IntegerOpsTests
{
    private const int Rax = 0, Rcx = 1, Rdx = 2, Rbx = 3, Rsp = 4, Rbp = 5, Rsi = 6, Rdi = 7;

    [Fact]
    public void Daa_AllDecimalPairs_GivesTheDecimalSum()
    {
        using var guest = new GuestProgram(32, a =>
        {
            // For BH and BL in turn: AL = BL + BH in decimal, AL and carry to memory at EDI.
            var loop = a.CreateLabel();
            a.Label(ref loop);
            a.mov(eax, __dword_ptr[esi]);
            a.add(esi, 2);
            a.add(al, ah);
            a.daa();
            a.stosb();
            a.setb(al);
            a.stosb();
            a.dec(ecx);
            a.jne(loop);
        });
        var pairs = (from x in Enumerable.Range(0, 100) from y in Enumerable.Range(0, 100) select (x, y)).ToArray();
        guest.Bytes(0x20000, [.. pairs.SelectMany(p => new[] { Decimal(p.x), Decimal(p.y) })]);
        (guest[Rsi], guest[Rdi], guest[Rcx]) = (0x20000, 0x40000, (ulong)pairs.Length);
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        Assert.Equal(pairs.SelectMany(p => new[] { Decimal((p.x + p.y) % 100), (byte)((p.x + p.y) / 100) }), guest.Bytes(0x40000, pairs.Length * 2));
    }

    [Fact]
    public void Das_AllDecimalPairs_GivesTheDecimalDifference()
    {
        using var guest = new GuestProgram(32, a =>
        {
            var loop = a.CreateLabel();
            a.Label(ref loop);
            a.mov(eax, __dword_ptr[esi]);
            a.add(esi, 2);
            a.sub(al, ah);
            a.das();
            a.stosb();
            a.setb(al);
            a.stosb();
            a.dec(ecx);
            a.jne(loop);
        });
        var pairs = (from x in Enumerable.Range(0, 100) from y in Enumerable.Range(0, 100) select (x, y)).ToArray();
        guest.Bytes(0x20000, [.. pairs.SelectMany(p => new[] { Decimal(p.x), Decimal(p.y) })]);
        (guest[Rsi], guest[Rdi], guest[Rcx]) = (0x20000, 0x40000, (ulong)pairs.Length);
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        Assert.Equal(pairs.SelectMany(p => new[] { Decimal((p.x - p.y + 100) % 100), (byte)(p.x < p.y ? 1 : 0) }), guest.Bytes(0x40000, pairs.Length * 2));
    }

    [Theory]
    // AX in, flags in, AX out, flags out of CF and AF (Intel SDM vol. 2).
    [InlineData(0x0007, 0x00, 0x0007, 0x00)]
    [InlineData(0x000C, 0x00, 0x0102, 0x11)]
    [InlineData(0x01FB, 0x00, 0x0301, 0x11)]
    [InlineData(0x0005, 0x10, 0x010B, 0x11)]
    public void Aaa_AdjustsBothDigits(ushort before, byte flags, ushort after, byte flagsAfter)
    {
        using var guest = new GuestProgram(16, a => { a.sahf(); a.mov(ax, bx); a.aaa(); a.mov(bx, ax); a.lahf(); });
        (guest[Rax], guest[Rbx]) = ((ulong)flags << 8, before);
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        Assert.Equal((after, flagsAfter), ((ushort)guest[Rbx], (byte)(guest[Rax] >> 8 & 0x11)));
    }

    [Theory]
    [InlineData(0x0207, 0x00, 0x0207, 0x00)]
    [InlineData(0x020C, 0x00, 0x0106, 0x11)]
    [InlineData(0x0200, 0x10, 0x000A, 0x11)]
    public void Aas_AdjustsBothDigits(ushort before, byte flags, ushort after, byte flagsAfter)
    {
        using var guest = new GuestProgram(16, a => { a.sahf(); a.mov(ax, bx); a.aas(); a.mov(bx, ax); a.lahf(); });
        (guest[Rax], guest[Rbx]) = ((ulong)flags << 8, before);
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        Assert.Equal((after, flagsAfter), ((ushort)guest[Rbx], (byte)(guest[Rax] >> 8 & 0x11)));
    }

    [Fact]
    public void AamAndAad_AreInverse_AndZeroBaseFaults()
    {
        using var guest = new GuestProgram(16, a => { a.mov(al, 97); a.aam(10); a.mov(bx, ax); a.aad(10); a.mov(cx, ax); a.aam(0); });
        Assert.Equal(VcpuStopKind.Halted, guest.WithInterrupt(0, a => a.hlt()).Run().Kind);
        Assert.Equal((0x0907, 97), ((ushort)guest[Rbx], (ushort)guest[Rcx]));
    }

    [Fact]
    public void PushaPopa_SixteenBits_KeepAllButSp()
    {
        using var guest = new GuestProgram(16, a => { a.pusha(); a.mov(bp, sp); a.mov(bx, __word_ptr[bp + 6]); a.mov(__word_ptr[0x600], bx); a.xor(eax, eax); a.xor(esi, esi); a.popa(); });
        for (var i = 0; i < 8; i++) guest[i] = i == Rsp ? 0x7000UL : 0x10203040UL + (ulong)i;
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        for (var i = 0; i < 8; i++) Assert.Equal(i switch { Rsp => 0x7000UL, Rax => 0x3040UL, Rsi => 0x3046UL, _ => 0x10203040UL + (ulong)i }, guest[i]);
        Assert.Equal(0x7000, guest.Read<ushort>(0x600));
    }

    [Theory]
    [InlineData(0), InlineData(1), InlineData(3), InlineData(31)]
    public void EnterLeave_NestedFrames_ChainAndUnwind(int level)
    {
        using var guest = new GuestProgram(64, a => { a.enter(0x40, (sbyte)level); a.mov(rax, rsp); a.mov(rbx, rbp); a.leave(); });
        (guest[Rsp], guest[Rbp]) = (0x20000, 0x22000);
        for (ulong i = 1; i < 32; i++) guest.Write(0x22000 - 8 * i, 0xF000 + i);
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        Assert.Equal((0x20000UL, 0x22000UL), (guest[Rsp], guest[Rbp]));
        Assert.Equal((0x1FFF8UL, 0x20000UL - 8 - (ulong)level * 8 - 0x40), (guest[Rbx], guest[Rax]));
        Assert.Equal(0x22000UL, guest.Read<ulong>(0x1FFF8));
        for (ulong i = 1; i < (ulong)level; i++) Assert.Equal(0xF000 + i, guest.Read<ulong>(0x1FFF8 - 8 * i));
        if (level > 0) Assert.Equal(0x1FFF8UL, guest.Read<ulong>(0x1FFF8 - 8 * (ulong)level));
    }

    [Fact]
    public void Enter_FrameEndNotWritable_ChangesNoRegister()
    {
        using var guest = new GuestProgram(64, a => a.enter(0x2000, 0)).WithSmallPages(0x1D000);
        (guest[Rsp], guest[Rbp]) = (0x20000, 0x1234);
        Assert.Equal(VcpuStopKind.Shutdown, guest.Run().Kind);
        Assert.Equal((0x20000UL, 0x1234UL), (guest[Rsp], guest[Rbp]));
        Assert.Equal(0x1DFF8UL, guest.State.Cr2);
    }

    [Fact]
    public void PopToMemory_StoreFaults_LeavesRsp()
    {
        using var guest = new GuestProgram(64, a => a.pop(__qword_ptr[rax])).WithSmallPages(0x30000);
        (guest[Rsp], guest[Rax]) = (0x20000, 0x30010);
        Assert.Equal(VcpuStopKind.Shutdown, guest.Run().Kind);
        Assert.Equal((0x20000UL, 0x30010UL), (guest[Rsp], guest.State.Cr2));
    }

    [Fact]
    public void Lea_SixteenBitAddress_WrapsBeforeItIsExtended()
    {
        using var guest = new GuestProgram(32, a => { a.lea(eax, __[bx + si + 0x10]); a.lea(ecx, __[ebx + esi]); a.lea(dx, __[ebx + esi * 2]); });
        (guest[Rbx], guest[Rsi], guest[Rdx]) = (0x1FFF8, 0x20010, 0xAAAABBBB);
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        Assert.Equal((0x18UL, 0x40008UL, 0xAAAA0018UL), (guest[Rax], guest[Rcx], guest[Rdx]));
    }

    [Fact]
    public void Xlat_SixteenBits_WrapsInTheSegment()
    {
        using var guest = new GuestProgram(16, a => a.xlatb());
        (guest[Rbx], guest[Rax]) = (0xFFFF, 0x11_05);
        guest.Write(4, (byte)0x99);
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        Assert.Equal(0x1199UL, guest[Rax]);
    }

    [Theory]
    [InlineData(5, VcpuStopKind.Halted), InlineData(10, VcpuStopKind.Halted), InlineData(4, VcpuStopKind.Shutdown), InlineData(11, VcpuStopKind.Shutdown)]
    public void Bound_OutsideTheLimits_Faults(int index, VcpuStopKind stop)
    {
        using var guest = new GuestProgram(32, a => a.bound(eax, __qword_ptr[ebx]));
        guest.Write(0x20000, 10UL << 32 | 5);
        (guest[Rax], guest[Rbx]) = ((ulong)index, 0x20000);
        Assert.Equal(stop, guest.Run().Kind);
    }

    [Theory]
    // IOPL, wanted flags, flags at the end: user code changes IF only with IOPL 3, and never IOPL.
    [InlineData(3, 0x0247, 0x3247)]
    [InlineData(3, 0x0002, 0x3002)]
    [InlineData(0, 0x3002, 0x0202)]
    public void Popf_InUserMode_KeepsWhatItMayNotChange(int iopl, ulong wanted, ulong expected)
    {
        using var guest = new GuestProgram(64, a => { a.push(rax); a.popfq(); a.pushfq(); a.pop(rbx); a.ud2(); }, userMode: true);
        guest.State.Rflags = (guest.State.Rflags & ~0x3000UL) | (ulong)iopl << 12 | 0x200;
        guest[Rax] = wanted;
        Assert.Equal(VcpuStopKind.Shutdown, guest.Run().Kind);
        Assert.Equal(expected, guest[Rbx]);
    }

    [Fact]
    public void Popf_AtRingZero_ChangesAllButVmVifVipAndRf()
    {
        using var guest = new GuestProgram(64, a => { a.push(rax); a.popfq(); a.pushfq(); a.pop(rbx); });
        guest[Rax] = 0x3F_FFFF & ~0x300UL;
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        Assert.Equal(0x24_7CD7UL, guest[Rbx]);
    }

    [Theory]
    [InlineData(64, 0, VcpuStopKind.Halted), InlineData(64, 8, VcpuStopKind.Shutdown)]
    public void Cmpxchg16b_Unaligned_Faults(int bitness, ulong offset, VcpuStopKind stop)
    {
        using var guest = new GuestProgram(bitness, a => a.@lock.cmpxchg16b(__xmmword_ptr[rdi]));
        (guest[Rdi], guest[Rbx], guest[Rcx]) = (0x20000 + offset, 1, 2);
        Assert.Equal(stop, guest.Run().Kind);
        if (offset == 0) Assert.Equal((1UL, 2UL), (guest.Read<ulong>(0x20000), guest.Read<ulong>(0x20008)));
    }

    [Theory]
    [InlineData(0x20000), InlineData(0x20FFD)]
    public void LockedAdd_OnTwoProcessors_LosesNothing(ulong address)
    {
        const int Rounds = 50_000;
        using var guest = new GuestProgram(64, a =>
        {
            var loop = a.CreateLabel();
            a.Label(ref loop);
            a.@lock.add(__qword_ptr[rdi], 1);
            a.@lock.xadd(__dword_ptr[rdi + 0x4000], eax);
            a.mov(eax, 1);
            a.xchg(__dword_ptr[rdi + 0x8000], ebx);
            a.dec(ecx);
            a.jne(loop);
        }, vcpus: 2);
        (guest[Rdi], guest[Rcx], guest[Rax]) = (address, Rounds, 1);
        guest.Processor(0).SetState(guest.State);
        guest.Processor(1).SetState(guest.State);
        var stops = new VcpuStopKind[2];
        var threads = Enumerable.Range(0, 2).Select(i => new Thread(() => stops[i] = guest.Processor(i).Run().Kind)).ToArray();
        foreach (var thread in threads) thread.Start();
        foreach (var thread in threads) thread.Join();
        Assert.Equal([VcpuStopKind.Halted, VcpuStopKind.Halted], stops);
        Assert.Equal((2UL * Rounds, 2U * Rounds), (guest.Read<ulong>(address), guest.Read<uint>(address + 0x4000)));
    }

    [Fact]
    public void Rdrand_TakesTheProcessorsEntropy()
    {
        using var guest = new GuestProgram(64, a => { a.rdrand(rax); a.rdseed(bx); a.setb(cl); });
        guest.Cpu.Entropy = () => 0x1122334455667788;
        guest[Rbx] = ulong.MaxValue;
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        Assert.Equal((0x1122334455667788UL, 0xFFFFFFFFFFFF7788UL, 1UL), (guest[Rax], guest[Rbx], guest[Rcx]));
    }

    [Theory]
    [InlineData(0x8000_0000_0000_0000, ulong.MaxValue), InlineData(1, 0)]
    public void Idiv_NoQuotient_Faults(ulong rax0, ulong divisor)
    {
        using var guest = new GuestProgram(64, a => { a.cqo(); a.idiv(rbx); });
        (guest[Rax], guest[Rbx]) = (rax0, divisor);
        Assert.Equal(VcpuStopKind.Shutdown, guest.Run().Kind);
        Assert.Equal(rax0, guest[Rax]);
    }

    [Fact]
    public void Block_LongestStraightLine_RunsToItsEnd()
    {
        // More instructions than a block holds: chained handlers must not outgrow the stack nor lose one.
        using var guest = new GuestProgram(64, a =>
        {
            var loop = a.CreateLabel();
            a.Label(ref loop);
            for (var i = 0; i < 500; i++) a.add(rax, 1);
            a.dec(ecx);
            a.jne(loop);
        });
        guest[Rcx] = 1000;
        Assert.Equal(VcpuStopKind.Halted, guest.Run().Kind);
        Assert.Equal(500_000UL, guest[Rax]);
        Assert.Equal(502_001UL, guest.Cpu.InstructionsRetired);
    }

    private static byte Decimal(int value) => (byte)(value / 10 * 16 + value % 10);
}
