using Iced.Intel;
using Vmm.Backends.Conformance.Guests;
using Vmm.Core.Backends;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Conformance.Topics;

/// <summary>Port I/O of each size and form.</summary>
public abstract class PortTests<TBackend> : Conformance<TBackend> where TBackend : BackendUnderTest, new()
{
    private const ushort Port = 0x500;
    private const ulong Filled = 0x1122_3344_5566_7788;

    [Theory, InlineData(1, 0x1122_3344_5566_77A2UL), InlineData(2, 0x1122_3344_5566_A3A2UL), InlineData(4, 0xA5A4_A3A2UL)]
    public void In_BySize_GivesTheDevicesValueAndKeepsTheRest(int size, ulong expected)
    {
        var guest = Guest(64, a => { a.mov(edx, Port + 2); In(a, size); });
        guest[0] = Filled;
        var device = guest.Ports(Port, 8);
        guest.RunToEnd();
        Assert.Equal(expected, guest[0]);
        Assert.Equal([Recorder.Read(2, size)], device.Accesses);
    }

    [Theory, InlineData(1, 0x88UL), InlineData(2, 0x7788UL), InlineData(4, 0x5566_7788UL)]
    public void Out_BySize_GivesTheDeviceTheLowBytes(int size, ulong expected)
    {
        var guest = Guest(64, a => { a.mov(edx, Port + 1); Out(a, size); });
        guest[0] = Filled;
        var device = guest.Ports(Port, 8);
        guest.RunToEnd();
        Assert.Equal([Recorder.Write(1, size, expected)], device.Accesses);
    }

    [Theory, InlineData(16), InlineData(32), InlineData(64)]
    public void ImmediatePort_InEveryMode_ReachesTheDevice(int bitness)
    {
        var guest = Guest(bitness, a => { a.@in(al, 0x70); a.inc(al); a.@out(0x71, al); });
        var device = guest.Ports(0x70, 2);
        guest.RunToEnd();
        Assert.Equal([Recorder.Read(0, 1), Recorder.Write(1, 1, 0xA1)], device.Accesses);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(4)]
    public void RepOuts_BySize_WritesEveryElementInOrder(int size)
    {
        var guest = Guest(64, a => { a.cld(); a.mov(edx, Port); Outs(a, size); });
        (guest[1], guest[6]) = (5, GuestTables.Data);
        for (var i = 0; i < 20; i++) guest.Write(GuestTables.Data + (ulong)i, (byte)(i + 1));
        var device = guest.Ports(Port, 8);
        guest.RunToEnd();
        Assert.Equal(Enumerable.Range(0, 5).Select(i => Recorder.Write(0, size, Little(i * size + 1, size))), device.Accesses);
        Assert.Equal((0UL, GuestTables.Data + (ulong)(5 * size)), (guest[1], guest[6]));
    }

    [Theory, InlineData(1), InlineData(2), InlineData(4)]
    public void RepIns_BySize_FillsMemory(int size)
    {
        var guest = Guest(64, a => { a.cld(); a.mov(edx, Port); Ins(a, size); });
        (guest[1], guest[7]) = (3, GuestTables.Data);
        var device = guest.Ports(Port, 8);
        guest.RunToEnd();
        Assert.Equal(Enumerable.Repeat(Recorder.Read(0, size), 3), device.Accesses);
        Assert.Equal((0UL, GuestTables.Data + (ulong)(3 * size)), (guest[1], guest[7]));
        for (var i = 0; i < 3 * size; i++) Assert.Equal(0xA0 + i % size, guest.Read<byte>(GuestTables.Data + (ulong)i));
        Assert.Equal(0, guest.Read<byte>(GuestTables.Data + (ulong)(3 * size)));
    }

    [Fact]
    public void RepOuts_Backwards_GoesDown()
    {
        var guest = Guest(64, a => { a.std(); a.mov(edx, Port); Outs(a, 1); a.cld(); });
        (guest[1], guest[6]) = (3, GuestTables.Data + 2);
        guest.Write(GuestTables.Data, [1, 2, 3]);
        var device = guest.Ports(Port, 8);
        guest.RunToEnd();
        Assert.Equal([Recorder.Write(0, 1, 3), Recorder.Write(0, 1, 2), Recorder.Write(0, 1, 1)], device.Accesses);
        Assert.Equal(GuestTables.Data - 1, guest[6]);
    }

    [Fact]
    public void RepOuts_AcrossPages_IsWhole()
    {
        var guest = Guest(64, a => { a.cld(); a.mov(edx, Port); Outs(a, 4); });
        var start = GuestTables.Data + 0xFFE;
        (guest[1], guest[6]) = (3, start);
        for (var i = 0; i < 12; i++) guest.Write(start + (ulong)i, (byte)(i + 1));
        var device = guest.Ports(Port, 8);
        guest.RunToEnd();
        Assert.Equal([Recorder.Write(0, 4, 0x04030201), Recorder.Write(0, 4, 0x08070605), Recorder.Write(0, 4, 0x0C0B0A09)], device.Accesses);
    }

    [Fact]
    public void RepIns_AThousandElements_AreAllServed()
    {
        var guest = Guest(64, a => { a.cld(); a.mov(edx, Port); Ins(a, 2); });
        (guest[1], guest[7]) = (5000, GuestTables.Data);
        var device = guest.Ports(Port, 8);
        guest.RunToEnd();
        Assert.Equal(5000, device.Accesses.Length);
        Assert.Equal(0xA1A0, guest.Read<ushort>(GuestTables.Data + 9998));
        Assert.Equal(0, guest.Read<ushort>(GuestTables.Data + 10000));
    }

    [Fact]
    public void RepString_CountZero_TouchesNothing()
    {
        var guest = Guest(64, a => { a.cld(); a.mov(edx, Port); Outs(a, 1); Ins(a, 4); });
        (guest[1], guest[6], guest[7]) = (0, GuestTables.Data, GuestTables.Data);
        var device = guest.Ports(Port, 8);
        guest.RunToEnd();
        Assert.Empty(device.Accesses);
        Assert.Equal((GuestTables.Data, GuestTables.Data), (guest[6], guest[7]));
    }

    [Fact]
    public void SingleIns_MovesTheIndexOnce()
    {
        var guest = Guest(64, a => { a.cld(); a.mov(edx, Port); a.insb(); a.outsd(); });
        (guest[6], guest[7]) = (GuestTables.Data + 8, GuestTables.Data);
        guest.Write(GuestTables.Data + 8, 0xCAFE_F00D);
        var device = guest.Ports(Port, 8);
        guest.RunToEnd();
        Assert.Equal([Recorder.Read(0, 1), Recorder.Write(0, 4, 0xCAFE_F00D)], device.Accesses);
        Assert.Equal((GuestTables.Data + 12, GuestTables.Data + 1), (guest[6], guest[7]));
    }

    [Theory, InlineData(1, 0xFFUL), InlineData(2, 0xFFFFUL), InlineData(4, 0xFFFF_FFFFUL)]
    public void UnclaimedPort_ReadsOnes_AndIsCounted(int size, ulong ones)
    {
        var guest = Guest(64, a => { a.xor(eax, eax); a.mov(edx, 0x900); In(a, size); a.mov(rsi, rax); Out(a, size); });
        guest.RunToEnd();
        Assert.Equal((ones, 2L), (guest[6], guest.Bus.Ports.Unclaimed));
    }

    [Fact]
    public void LastPort_FourBytes_ReachesThePortAndOnes()
    {
        var guest = Guest(64, a => { a.mov(edx, 0xFFFF); a.@in(eax, dx); a.mov(esi, eax); a.@out(dx, eax); });
        var device = guest.Ports(0xFFFF, 1);
        guest.RunToEnd();
        Assert.Equal(0xFFFF_FFA0UL, guest[6]);
        Assert.Equal([Recorder.Read(0, 1), Recorder.Write(0, 1, 0xA0)], device.Accesses);
    }

    [Fact]
    public void WindowsEdge_AccessIsSplitIntoBytes()
    {
        var guest = Guest(64, a => { a.mov(edx, Port + 3); a.@in(ax, dx); });
        var (first, second) = (guest.Ports(Port, 4), guest.Ports(Port + 4, 4));
        guest.RunToEnd();
        Assert.Equal([Recorder.Read(3, 1)], first.Accesses);
        Assert.Equal([Recorder.Read(0, 1)], second.Accesses);
        Assert.Equal(0xA0A3UL, guest[0] & 0xFFFF);
    }

    [Fact]
    public void UserMode_ReachesTheDevice()
    {
        var guest = Guest(64, a => { a.mov(edx, Port); a.@in(ax, dx); a.@out(dx, al); }, user: true);
        var device = guest.Ports(Port, 8);
        guest.RunToEnd();
        Assert.Equal([Recorder.Read(0, 2), Recorder.Write(0, 1, 0xA0)], device.Accesses);
    }

    [Fact]
    public void UserMode_WithIopl3_NeedsNoPermission()
    {
        Need(HypervisorCapabilities.FullSystem);
        var guest = Guest(64, a => { a.mov(edx, Port); a.@in(ax, dx); a.@out(dx, al); }, user: true);
        guest.State.Rflags = 0x3002;
        guest.Write<ushort>(GuestTables.Tss + 102, 0xFFFF);
        var device = guest.Ports(Port, 8);
        guest.RunToEnd();
        Assert.Equal([Recorder.Read(0, 2), Recorder.Write(0, 1, 0xA0)], device.Accesses);
    }

    [Fact]
    public void UserMode_WithoutPermission_Faults()
    {
        var guest = Guest(64, a => { a.mov(edx, Port); a.@out(dx, al); }, user: true);
        var device = guest.Ports(Port, 8);
        guest.Write<ushort>(GuestTables.Tss + 102, 0xFFFF);
        guest.RunToTrap(13);
        Assert.Empty(device.Accesses);
        Assert.Equal(0UL, guest.Frame(0));
    }

    [Fact]
    public void UserMode_PermissionBitmap_DecidesByPort()
    {
        var guest = Guest(64, (a, at) => { a.mov(edx, Port); a.@out(dx, al); a.inc(edx); at("denied"); a.@out(dx, al); }, user: true);
        var device = guest.Ports(Port, 8);
        for (ulong i = 0; i <= 0x200; i++) guest.Write<byte>(GuestTables.Tss + 0x68 + i, 0xFF);
        guest.Write<byte>(GuestTables.Tss + 0x68 + Port / 8, 0xFE);
        guest.RunToTrap(13);
        Assert.Single(device.Writes);
        Assert.Equal(guest["denied"] + 1, guest.Frame(1));
    }

    [Fact]
    public void RealMode_StringToASegment_IsServed()
    {
        var guest = Guest(16, a => { a.cld(); a.mov(ax, 0x4000); a.mov(es, ax); a.xor(di, di); a.mov(cx, 4); a.mov(dx, Port); a.rep.insb(); });
        guest.Ports(Port, 8);
        guest.RunToEnd();
        Assert.Equal(0xA0A0_A0A0, guest.Read<uint>(GuestTables.Data));
    }

    [Fact]
    public void RepIns_IntoAMissingPage_FaultsWhereItStands()
    {
        var guest = Guest(64, a => { a.cld(); a.mov(edx, Port); Ins(a, 1); });
        (guest[1], guest[7]) = (8, GuestTables.Data + 0x1000 - 3);
        guest.SetPage(GuestTables.Data + 0x1000, 0);
        guest.Ports(Port, 8);
        guest.RunToTrap(14);
        Assert.Equal((2UL, GuestTables.Data + 0x1000, 5UL, GuestTables.Data + 0x1000), (guest.Frame(0), guest.State.Cr2, guest[1], guest[7]));
        Assert.Equal(0xA0, guest.Read<byte>(GuestTables.Data + 0xFFF));
    }

    private static ulong Little(int first, int size) => Enumerable.Range(0, size).Aggregate(0UL, (v, i) => v | (ulong)(byte)(first + i) << (i * 8));

    private static void In(Assembler a, int size)
    {
        if (size == 1) a.@in(al, dx);
        else if (size == 2) a.@in(ax, dx);
        else a.@in(eax, dx);
    }

    private static void Out(Assembler a, int size)
    {
        if (size == 1) a.@out(dx, al);
        else if (size == 2) a.@out(dx, ax);
        else a.@out(dx, eax);
    }

    private static void Outs(Assembler a, int size)
    {
        if (size == 1) a.rep.outsb();
        else if (size == 2) a.rep.outsw();
        else a.rep.outsd();
    }

    private static void Ins(Assembler a, int size)
    {
        if (size == 1) a.rep.insb();
        else if (size == 2) a.rep.insw();
        else a.rep.insd();
    }
}
