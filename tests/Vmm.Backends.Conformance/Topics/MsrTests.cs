using Iced.Intel;
using Vmm.Backends.Conformance.Guests;
using Vmm.Core.Backends;
using Vmm.Core.X86;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Conformance.Topics;

/// <summary>Model-specific registers: the known ones hold what they may, unknown ones fault.</summary>
public abstract class MsrTests<TBackend> : Conformance<TBackend> where TBackend : BackendUnderTest, new()
{
    private const uint Tsc = 0x10, ApicBase = 0x1B, Efer = 0xC0000080, FsBase = 0xC0000100, GsBase = 0xC0000101;

    [Theory]
    [InlineData(0x174u, 0x10UL), InlineData(0x175u, 0xFFFF_8000_1234_5678UL), InlineData(0x176u, 0x7FFF_1234_5678UL), InlineData(0x277u, 0x0007_0106_0007_0106UL)]
    [InlineData(0xC0000081u, 0x0023_0010_0000_0000UL), InlineData(0xC0000082u, 0xFFFF_8000_1234_5678UL), InlineData(0xC0000083u, 0x1234UL), InlineData(0xC0000084u, 0x47700UL)]
    [InlineData(0xC0000102u, 0xFFFF_9000_0000_1000UL)]
    public void Register_KeepsWhatIsWritten_AndIsInTheState(uint index, ulong value)
    {
        var guest = Guest(64, a => { a.WriteMsr(index, value); a.ReadMsr(index); });
        guest.RunToEnd();
        Assert.Equal(value, guest[0]);
        Assert.Contains(new MsrValue(index, value), guest.State.Msrs);
    }

    [Theory]
    [InlineData(0x175u, 0xFFFF_8000_1234_5678UL), InlineData(0xC0000081u, 0x0023_0010_0000_0000UL), InlineData(0xC0000082u, 0xFFFF_8000_1234_5678UL), InlineData(0xC0000102u, 0xFFFF_9000_0000_1000UL)]
    public void Register_SetByTheState_IsRead(uint index, ulong value)
    {
        var guest = Guest(64, a => a.ReadMsr(index));
        guest.State.Msrs = [new MsrValue(index, value)];
        guest.RunToEnd();
        Assert.Equal(value, guest[0]);
    }

    [Theory, InlineData(FsBase, 4), InlineData(GsBase, 5)]
    public void SegmentBase_IsTheSegmentsOfTheState(uint index, int segment)
    {
        var guest = Guest(64, a => { a.ReadMsr(index); a.mov(rsi, rax); a.WriteMsr(index, GuestTables.Data); if (segment == 4) a.mov(ebx, __dword_ptr.fs[8]); else a.mov(ebx, __dword_ptr.gs[8]); });
        guest.Write(GuestTables.Data + 8, 0x1234);
        guest.State.Segments[segment].Base = 0xFFFF_8000_0000_0010;
        guest.RunToEnd();
        Assert.Equal((0xFFFF_8000_0000_0010UL, 0x1234UL, GuestTables.Data), (guest[6], guest[3], guest.State.Segments[segment].Base));
    }

    [Fact]
    public void Efer_IsTheStates()
    {
        var guest = Guest(64, a => { a.ReadMsr(Efer); a.mov(rsi, rax); a.WriteMsr(Efer, 0xD01 ^ 1); });
        guest.RunToEnd();
        Assert.Equal((0xD01UL, 0xD00UL), (guest[6], guest.State.Efer));
    }

    [Fact]
    public void ApicBase_IsTheStates()
    {
        var guest = Guest(64, a => a.ReadMsr(ApicBase));
        guest.RunToEnd();
        Assert.Equal((0xFEE00900UL, 0xFEE00900UL), (guest[0], guest.State.ApicBase));
    }

    [Fact]
    public void TimeStampCounter_Grows_AndIsWritable()
    {
        Need(HypervisorCapabilities.FullSystem);
        var guest = Guest(64, a =>
        {
            a.ReadMsr(Tsc);
            a.mov(rsi, rax);
            a.rdtsc();
            a.shl(rdx, 32);
            a.or(rax, rdx);
            a.mov(rdi, rax);
            a.WriteMsr(Tsc, 1UL << 50);
            a.rdtsc();
            a.shl(rdx, 32);
            a.or(rax, rdx);
        });
        guest.RunToEnd();
        Assert.True(guest[7] >= guest[6]);
        Assert.InRange(guest[0], 1UL << 50, (1UL << 50) + (1UL << 40));
    }

    [Fact]
    public void TimeStampCounter_SetByTheState_GoesOnFromThere()
    {
        Need(HypervisorCapabilities.FullSystem);
        var guest = Guest(64, a => { a.rdtsc(); a.shl(rdx, 32); a.or(rax, rdx); });
        guest.State.Msrs = [new MsrValue(Tsc, 1UL << 50)];
        guest.RunToEnd();
        Assert.InRange(guest[0], 1UL << 50, (1UL << 50) + (1UL << 40));
        Assert.Contains(guest.State.Msrs, m => m.Index == Tsc && m.Value >= guest[0]);
    }

    [Theory, InlineData(0x1234_5678u, false), InlineData(0x1234_5678u, true), InlineData(0xFFFF_FFFFu, false), InlineData(0xC001_FFFFu, true)]
    public void Unknown_IsAProtectionFault(uint index, bool isWrite)
    {
        var guest = Guest(64, (a, at) => { a.mov(ecx, index); a.xor(eax, eax); a.xor(edx, edx); at("here"); if (isWrite) a.wrmsr(); else a.rdmsr(); });
        guest.RunToTrap(13);
        Assert.Equal((0UL, guest["here"] + 1), (guest.Frame(0), guest.Frame(1)));
    }

    [Theory, InlineData(0xC0000082u), InlineData(0xC0000102u), InlineData(FsBase), InlineData(GsBase)]
    public void NonCanonicalAddress_IsAProtectionFault(uint index)
    {
        var guest = Guest(64, a => a.WriteMsr(index, 0x8000_0000_0000_0000));
        guest.RunToTrap(13);
    }

    [Theory, InlineData(Efer, 0xFFFF_FFFF_0000_0D01UL), InlineData(Efer, 0x401UL), InlineData(0x277u, 0x02UL), InlineData(ApicBase, 0xFEE00500UL)]
    public void ImpossibleValue_IsAProtectionFault(uint index, ulong value)
    {
        if (index == 0x277) Need(HypervisorCapabilities.FullSystem);
        var guest = Guest(64, a => a.WriteMsr(index, value));
        guest.RunToTrap(13);
    }

    [Fact]
    public void UserMode_IsAProtectionFault()
    {
        var guest = Guest(64, a => { a.mov(ecx, Efer); a.rdmsr(); }, user: true);
        guest.RunToTrap(13);
    }

    [Fact]
    public void State_UnknownRegister_IsLeftOut()
    {
        // A snapshot of another backend or version may hold more than this one knows.
        var guest = Guest(64, a => a.ReadMsr(0xC0000082));
        guest.State.Msrs = [new MsrValue(0x1234_5678, 1), new MsrValue(0xC0000082, 0x1000)];
        guest.RunToEnd();
        Assert.Equal(0x1000UL, guest[0]);
    }
}
