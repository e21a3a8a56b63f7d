using Iced.Intel;
using Vmm.Backends.Conformance.Guests;
using Vmm.Core.Backends;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Conformance.Topics;

/// <summary>Memory-mapped I/O of each size and form.</summary>
public abstract class MmioTests<TBackend> : Conformance<TBackend> where TBackend : BackendUnderTest, new()
{
    private const ulong Window = 0xD000_0000;
    private const ulong Filled = 0x1122_3344_5566_7788;

    [Theory, InlineData(1, 0x1122_3344_5566_77A8UL), InlineData(2, 0x1122_3344_5566_A9A8UL), InlineData(4, 0xABAA_A9A8UL), InlineData(8, 0xAFAE_ADAC_ABAA_A9A8UL)]
    public void Load_BySize_GivesTheDevicesValueAndKeepsTheRest(int size, ulong expected)
    {
        var guest = Guest(64, a =>
        {
            if (size == 1) a.mov(al, __byte_ptr[rsi + 8]);
            else if (size == 2) a.mov(ax, __word_ptr[rsi + 8]);
            else if (size == 4) a.mov(eax, __dword_ptr[rsi + 8]);
            else a.mov(rax, __qword_ptr[rsi + 8]);
        });
        (guest[0], guest[6]) = (Filled, Window);
        var device = guest.Mmio(Window, 0x1000);
        guest.RunToEnd();
        Assert.Equal(expected, guest[0]);
        Assert.Equal([Recorder.Read(8, size)], device.Accesses);
    }

    [Theory, InlineData(1, 0x88UL), InlineData(2, 0x7788UL), InlineData(4, 0x5566_7788UL), InlineData(8, Filled)]
    public void Store_BySize_GivesTheDeviceTheLowBytes(int size, ulong expected)
    {
        var guest = Guest(64, a =>
        {
            if (size == 1) a.mov(__byte_ptr[rdi + 0x10], al);
            else if (size == 2) a.mov(__word_ptr[rdi + 0x10], ax);
            else if (size == 4) a.mov(__dword_ptr[rdi + 0x10], eax);
            else a.mov(__qword_ptr[rdi + 0x10], rax);
        });
        (guest[0], guest[7]) = (Filled, Window);
        var device = guest.Mmio(Window, 0x1000);
        guest.RunToEnd();
        Assert.Equal([Recorder.Write(0x10, size, expected)], device.Accesses);
    }

    [Fact]
    public void LoadsThatExtend_KeepTheSign()
    {
        var guest = Guest(64, a => { a.movsx(rax, __byte_ptr[rsi]); a.movzx(ecx, __word_ptr[rsi + 2]); a.movsxd(rdx, __dword_ptr[rsi + 4]); });
        guest[6] = Window;
        var device = guest.Mmio(Window, 0x1000);
        guest.RunToEnd();
        Assert.Equal((0xFFFF_FFFF_FFFF_FFA0UL, 0xA3A2UL, 0xFFFF_FFFF_A7A6_A5A4UL), (guest[0], guest[1], guest[2]));
        Assert.Equal([Recorder.Read(0, 1), Recorder.Read(2, 2), Recorder.Read(4, 4)], device.Accesses);
    }

    [Fact]
    public void ImmediateStore_ReachesTheDevice()
    {
        var guest = Guest(64, a => { a.mov(__byte_ptr[rdi], 0x12); a.mov(__dword_ptr[rdi + 4], 0x7654_3210); });
        guest[7] = Window;
        var device = guest.Mmio(Window, 0x1000);
        guest.RunToEnd();
        Assert.Equal([Recorder.Write(0, 1, 0x12), Recorder.Write(4, 4, 0x7654_3210)], device.Accesses);
    }

    [Fact]
    public void ReadModifyWrite_ReadsThenWrites_WithItsFlags()
    {
        var guest = Guest(64, a => { a.add(__dword_ptr[rdi], ecx); a.setc(bl); a.or(__byte_ptr[rdi + 8], 0x0F); });
        (guest[1], guest[7], guest[3]) = (0x7000_0000, Window, 0);
        var device = guest.Mmio(Window, 0x1000);
        guest.RunToEnd();
        Assert.Equal([Recorder.Read(0, 4), Recorder.Write(0, 4, 0x13A2_A1A0), Recorder.Read(8, 1), Recorder.Write(8, 1, 0xAF)], device.Accesses);
        Assert.Equal(1UL, guest[3] & 0xFF);
    }

    [Fact]
    public void Exchange_ReadsThenWrites()
    {
        var guest = Guest(64, a => a.xchg(__dword_ptr[rdi], eax));
        (guest[0], guest[7]) = (0x1234_5678, Window);
        var device = guest.Mmio(Window, 0x1000);
        guest.RunToEnd();
        Assert.Equal([Recorder.Read(0, 4), Recorder.Write(0, 4, 0x1234_5678)], device.Accesses);
        Assert.Equal(0xA3A2_A1A0UL, guest[0]);
    }

    [Fact]
    public void CompareWithMemory_SetsFlags()
    {
        var guest = Guest(64, a => { a.cmp(__dword_ptr[rdi], eax); a.sete(bl); a.test(__byte_ptr[rdi], 0x20); a.setne(cl); });
        (guest[0], guest[7], guest[3], guest[1]) = (0xA3A2_A1A0, Window, 0, 0);
        guest.Mmio(Window, 0x1000);
        guest.RunToEnd();
        Assert.Equal((1UL, 1UL), (guest[3] & 0xFF, guest[1] & 0xFF));
    }

    [Fact]
    public void VectorLoadAndStore_MoveSixteenBytes()
    {
        var guest = Guest(64, a => { a.movups(xmm1, __xmmword_ptr[rsi]); a.movups(__xmmword_ptr[rdi], xmm1); });
        (guest[6], guest[7]) = (Window, Window + 0x20);
        var device = guest.Mmio(Window, 0x1000);
        guest.RunToEnd();
        Assert.Equal([Recorder.Read(0, 8), Recorder.Read(8, 8), Recorder.Write(0x20, 8, Recorder.Pattern(0, 8)), Recorder.Write(0x28, 8, Recorder.Pattern(8, 8))], device.Accesses);
    }

    [Fact]
    public void RepMovs_FromDeviceToMemory_CopiesEveryElement()
    {
        var guest = Guest(64, a => { a.cld(); a.rep.movsb(); });
        (guest[1], guest[6], guest[7]) = (16, Window, GuestTables.Data);
        guest.Mmio(Window, 0x1000);
        guest.RunToEnd();
        Assert.Equal(Enumerable.Range(0xA0, 16).Select(i => (byte)i), guest.Read(GuestTables.Data, 16));
        Assert.Equal((0UL, Window + 16, GuestTables.Data + 16), (guest[1], guest[6], guest[7]));
    }

    [Fact]
    public void RepMovs_FromMemoryToDevice_WritesEveryElement()
    {
        var guest = Guest(64, a => { a.cld(); a.rep.movsd(); });
        (guest[1], guest[6], guest[7]) = (3, GuestTables.Data, Window);
        guest.Write(GuestTables.Data, [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
        var device = guest.Mmio(Window, 0x1000);
        guest.RunToEnd();
        Assert.Equal([Recorder.Write(0, 4, 1), Recorder.Write(4, 4, 2), Recorder.Write(8, 4, 3)], device.Accesses);
    }

    [Fact]
    public void RepMovs_FromDeviceToDevice_ReadsAndWritesInTurn()
    {
        var guest = Guest(64, a => { a.cld(); a.rep.movsw(); });
        (guest[1], guest[6], guest[7]) = (2, Window, Window + 0x100);
        var device = guest.Mmio(Window, 0x1000);
        guest.RunToEnd();
        Assert.Equal([Recorder.Read(0, 2), Recorder.Write(0x100, 2, 0xA1A0), Recorder.Read(2, 2), Recorder.Write(0x102, 2, 0xA3A2)], device.Accesses);
    }

    [Fact]
    public void RepStos_ToDevice_WritesEveryElement()
    {
        var guest = Guest(64, a => { a.cld(); a.rep.stosd(); });
        (guest[0], guest[1], guest[7]) = (0xCAFE_F00D, 3, Window);
        var device = guest.Mmio(Window, 0x1000);
        guest.RunToEnd();
        Assert.Equal([Recorder.Write(0, 4, 0xCAFE_F00D), Recorder.Write(4, 4, 0xCAFE_F00D), Recorder.Write(8, 4, 0xCAFE_F00D)], device.Accesses);
    }

    [Fact]
    public void Push_ToDevice_IsAWrite()
    {
        var guest = Guest(64, a => { a.mov(rbp, rsp); a.mov(rsp, rdi); a.push(rax); a.pop(rcx); a.mov(rsp, rbp); });
        (guest[0], guest[7]) = (Filled, Window + 0x10);
        var device = guest.Mmio(Window, 0x1000);
        guest.RunToEnd();
        Assert.Equal([Recorder.Write(8, 8, Filled), Recorder.Read(8, 8)], device.Accesses);
        Assert.Equal(Recorder.Pattern(8, 8), guest[1]);
    }

    [Theory, InlineData(0xFFDUL), InlineData(0xFFFUL)]
    public void Load_AcrossTwoWindows_TakesFromBoth(ulong offset)
    {
        var guest = Guest(64, a => a.mov(eax, __dword_ptr[rsi]));
        guest[6] = Window + offset;
        guest.Mmio(Window, 0x1000);
        guest.Mmio(Window + 0x1000, 0x1000);
        guest.RunToEnd();
        ulong expected = 0;
        for (var i = 0; i < 4; i++) expected |= Recorder.Pattern((uint)(offset + (ulong)i) & 0xFFF, 1) << (i * 8);
        Assert.Equal(expected, guest[0]);
    }

    [Fact]
    public void Load_Unaligned_IsWhole()
    {
        var guest = Guest(64, a => { a.mov(rax, __qword_ptr[rsi + 3]); a.mov(ecx, __dword_ptr[rsi + 1]); });
        guest[6] = Window;
        guest.Mmio(Window, 0x1000);
        guest.RunToEnd();
        Assert.Equal((Recorder.Pattern(3, 8), Recorder.Pattern(1, 4)), (guest[0], guest[1]));
    }

    [Theory, InlineData(1), InlineData(2), InlineData(4), InlineData(8)]
    public void Unclaimed_ReadsOnes_AndIsCounted(int size)
    {
        var guest = Guest(64, a =>
        {
            a.xor(eax, eax);
            if (size == 1) a.mov(al, __byte_ptr[rsi]);
            else if (size == 2) a.mov(ax, __word_ptr[rsi]);
            else if (size == 4) a.mov(eax, __dword_ptr[rsi]);
            else a.mov(rax, __qword_ptr[rsi]);
            a.mov(__dword_ptr[rsi], ecx);
        });
        guest[6] = 0xC000_0000;
        guest.RunToEnd();
        Assert.Equal(size == 8 ? ulong.MaxValue : (1UL << (size * 8)) - 1, guest[0]);
        Assert.Equal(2, guest.Bus.Mmio.Unclaimed);
    }

    [Fact]
    public void UserMode_ReachesTheDevice()
    {
        var guest = Guest(64, a => { a.mov(eax, __dword_ptr[rsi]); a.mov(__word_ptr[rsi + 4], ax); }, user: true);
        guest[6] = Window;
        var device = guest.Mmio(Window, 0x1000);
        guest.RunToEnd();
        Assert.Equal([Recorder.Read(0, 4), Recorder.Write(4, 2, 0xA1A0)], device.Accesses);
    }

    [Fact]
    public void ProtectedModeWithoutPaging_ReachesTheDevice()
    {
        var guest = Guest(32, a => { a.mov(eax, __dword_ptr[esi]); a.mov(__word_ptr[esi + 4], ax); });
        guest[6] = Window;
        var device = guest.Mmio(Window, 0x1000);
        guest.RunToEnd();
        Assert.Equal([Recorder.Read(0, 4), Recorder.Write(4, 2, 0xA1A0)], device.Accesses);
    }

    [Fact]
    public void DeviceException_PassesThrough_AndTheVcpuGoesOn()
    {
        var guest = Guest(64, a => { a.Signal(); a.mov(ebx, 7); });
        var first = true;
        guest.OnSignal = _ =>
        {
            if (first) throw new InvalidTimeZoneException("a device's own");
        };
        Assert.Throws<InvalidTimeZoneException>(() => guest.Run());
        first = false;
        Assert.Equal(EndKind.Exit, guest.Continue().Kind);
        Assert.Equal(7UL, guest[3]);
    }
}
