using Iced.Intel;
using Vmm.Backends.Conformance.Guests;
using Vmm.Core.Backends;
using Vmm.Core.X86;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Conformance.Topics;

/// <summary>Exceptions through the guest's own tables, with and without a change of ring.</summary>
public abstract class ExceptionTests<TBackend> : Conformance<TBackend> where TBackend : BackendUnderTest, new()
{
    private const ulong Missing = GuestTables.Free;

    [Fact]
    public void InvalidOpcode_PointsAtTheInstruction()
    {
        var guest = Guest(64, (a, at) => { a.nop(); at("here"); a.ud2(); });
        guest.RunToTrap(6);
        Assert.Equal((guest["here"] + 1, GuestTables.Code64, GuestTables.Stack, GuestTables.DataSelector), (guest.Frame(0), guest.Frame(1), guest.Frame(3), guest.Frame(4)));
        Assert.Equal(GuestTables.Stack - 48, guest[4]);
    }

    [Fact]
    public void DivideError_IsAFault()
    {
        var guest = Guest(64, (a, at) => { a.xor(ecx, ecx); at("here"); a.div(ecx); });
        guest.RunToTrap(0);
        Assert.Equal(guest["here"] + 1, guest.Frame(0));
    }

    [Fact]
    public void NonCanonicalAddress_IsAProtectionFault()
    {
        var guest = Guest(64, a => a.mov(eax, __dword_ptr[rsi]));
        guest[6] = 0x8000_0000_0000_0000;
        guest.RunToTrap(13);
        Assert.Equal((0UL, GuestTables.Program), (guest.Frame(0), guest.Frame(1)));
    }

    [Fact]
    public void NonCanonicalStack_IsAStackFault()
    {
        var guest = Guest(64, a => { a.mov(rsp, rsi); a.push(rax); });
        guest[6] = 0x8000_0000_0000_0000;
        guest.SetGate(12, GuestTables.Stubs + 12 * 16, ist: 1);
        guest.RunToTrap(12);
        Assert.Equal((0UL, 0x8000_0000_0000_0000UL, GuestTables.IstStack - 56), (guest.Frame(0), guest.Frame(4), guest[4]));
    }

    [Theory, InlineData(false, 0UL), InlineData(true, 2UL)]
    public void PageFault_NotPresent_HasErrorCodeAndAddress(bool isWrite, ulong error)
    {
        var guest = Guest(64, a =>
        {
            if (isWrite) a.mov(__dword_ptr[rsi + 0x123], eax);
            else a.mov(eax, __dword_ptr[rsi + 0x123]);
        });
        guest[6] = Missing;
        guest.SetPage(Missing, 0);
        guest.RunToTrap(14);
        Assert.Equal((error, GuestTables.Program, Missing + 0x123), (guest.Frame(0), guest.Frame(1), guest.State.Cr2));
    }

    [Fact]
    public void PageFault_ReadOnlyPage_KernelWithWriteProtect()
    {
        var guest = Guest(64, a => a.mov(__byte_ptr[rsi], al));
        guest[6] = Missing;
        guest.SetPage(Missing, Missing | 5);
        guest.RunToTrap(14);
        Assert.Equal((3UL, Missing), (guest.Frame(0), guest.State.Cr2));
    }

    [Fact]
    public void PageFault_SupervisorPageFromUserMode()
    {
        var guest = Guest(64, a => a.mov(al, __byte_ptr[rsi]), user: true);
        guest[6] = Missing;
        guest.SetPage(Missing, Missing | 3);
        guest.RunToTrap(14);
        Assert.Equal((5UL, Missing, GuestTables.UserCode64), (guest.Frame(0), guest.State.Cr2, guest.Frame(2)));
    }

    [Fact]
    public void PageFault_NoExecutePage_IsAnInstructionFetch()
    {
        var guest = Guest(64, a => a.call(rsi));
        guest[6] = Missing;
        guest.SetPage(Missing, Missing | 7 | 1UL << 63);
        guest.RunToTrap(14);
        Assert.Equal((0x11UL, Missing, Missing), (guest.Frame(0), guest.Frame(1), guest.State.Cr2));
    }

    [Fact]
    public void PageFault_ReservedBit()
    {
        var guest = Guest(64, a => a.mov(al, __byte_ptr[rsi]));
        guest[6] = Missing;
        guest.SetPage(Missing, Missing | 7 | 1UL << 51);
        guest.RunToTrap(14);
        Assert.Equal(9UL, guest.Frame(0));
    }

    [Fact]
    public void PageFault_HandlerMapsThePage_AndTheInstructionIsDoneAgain()
    {
        var guest = Guest(64, a => { a.mov(ecx, __dword_ptr[rsi]); a.mov(__dword_ptr[rsi + 4], ecx); });
        guest.Write(Missing, 0x1234);
        guest[6] = Missing;
        guest.SetPage(Missing, 0);
        guest.Handle(14, a => { a.mov(__dword_ptr[GuestTables.Entry(Missing)], (int)(Missing | 7)); a.add(rsp, 8); a.iretq(); });
        guest.RunToEnd();
        Assert.Equal(0x1234, guest.Read<int>(Missing + 4));
    }

    [Fact]
    public void Pages_AreMarkedAccessedAndDirty()
    {
        var guest = Guest(64, a => { a.mov(al, __byte_ptr[rsi]); a.mov(__byte_ptr[rsi + 0x1000], al); });
        guest[6] = Missing;
        guest.RunToEnd();
        Assert.Equal(0x20UL, guest.Read<ulong>(GuestTables.Entry(Missing)) & 0x60);
        Assert.Equal(0x60UL, guest.Read<ulong>(GuestTables.Entry(Missing + 0x1000)) & 0x60);
        Assert.Equal(0UL, guest.Read<ulong>(GuestTables.Entry(Missing + 0x2000)) & 0x60);
    }

    [Fact]
    public void Breakpoint_IsATrap()
    {
        Need(HypervisorCapabilities.FullSystem);
        var guest = Guest(64, (a, at) => { a.int3(); at("behind"); });
        guest.RunToTrap(3);
        Assert.Equal(guest["behind"], guest.Frame(0));
    }

    [Fact]
    public void SoftwareInterrupt_ReturnsBehindItself()
    {
        Need(HypervisorCapabilities.FullSystem);
        var guest = Guest(64, a => { a.@int(0x80); a.mov(ecx, 5); });
        guest.Handle(0x80, a => { a.mov(edx, 6); a.iretq(); });
        guest.RunToEnd();
        Assert.Equal((5UL, 6UL), (guest[1], guest[2]));
    }

    [Fact]
    public void NotPresentSegment_HasTheSelector()
    {
        var guest = Guest(64, a => { a.mov(eax, GuestTables.Absent); a.mov(ds, ax); });
        guest.RunToTrap(11);
        Assert.Equal(GuestTables.Absent, guest.Frame(0));
    }

    [Fact]
    public void SelectorBeyondTheTable_IsAProtectionFaultWithTheSelector()
    {
        var guest = Guest(64, a => { a.mov(eax, 0x200); a.mov(ds, ax); });
        guest.RunToTrap(13);
        Assert.Equal(0x200UL, guest.Frame(0));
    }

    [Fact]
    public void TaskSwitchedFlag_MakesVectorsUnavailable()
    {
        Need(HypervisorCapabilities.FullSystem);
        var guest = Guest(64, a => a.addps(xmm0, xmm1));
        guest.State.Cr0 |= 8;
        guest.RunToTrap(7);
        Assert.Equal(GuestTables.Program, guest.Frame(0));
    }

    [Fact]
    public void SingleStepFlag_TrapsBehindTheNextInstruction()
    {
        var guest = Guest(64, (a, at) => { a.pushfq(); a.or(__dword_ptr[rsp], 0x100); a.popfq(); a.mov(ecx, 5); at("behind"); a.mov(ecx, 6); });
        guest.RunToTrap(1);
        Assert.Equal((guest["behind"], 5UL, 0x4000UL), (guest.Frame(0), guest[1], guest.State.Debug[6] & 0x4000));
    }

    [Fact]
    public void GuestsOwnBreakpointRegister_TrapsOnAWrite()
    {
        Need(HypervisorCapabilities.FullSystem);
        var guest = Guest(64, (a, at) => { a.mov(dr0, rsi); a.mov(eax, 0xD0402); a.mov(dr7, rax); a.mov(ecx, __dword_ptr[rsi]); a.mov(__dword_ptr[rsi], eax); at("behind"); a.nop(); });
        guest[6] = Missing;
        guest.RunToTrap(1);
        Assert.Equal((guest["behind"], 1UL), (guest.Frame(0), guest.State.Debug[6] & 0xF));
    }

    [Theory, InlineData(6), InlineData(13), InlineData(14), InlineData(0x80)]
    public void UserMode_ExceptionSwitchesToTheKernelsStack(int vector)
    {
        if (vector == 0x80) Need(HypervisorCapabilities.FullSystem);
        var guest = Guest(64, a =>
        {
            if (vector == 6) a.ud2();
            else if (vector == 13) a.hlt();
            else if (vector == 14) a.mov(al, __byte_ptr[rsi]);
            else a.@int(0x80);
        }, user: true);
        guest[6] = Missing;
        guest.SetPage(Missing, 0);
        guest.RunToTrap(vector);
        var at = vector is 13 or 14 ? 1 : 0;
        if (at == 1) Assert.Equal(vector == 14 ? 4UL : 0, guest.Frame(0));
        Assert.Equal((GuestTables.Program + (vector == 0x80 ? 2UL : 0), GuestTables.UserCode64, GuestTables.UserStack, GuestTables.UserData), (guest.Frame(at), guest.Frame(at + 1), guest.Frame(at + 3), guest.Frame(at + 4)));
        Assert.Equal((GuestTables.InnerStack - 48 - (ulong)at * 8, 0), (guest[4], guest.State.Segments[1].Selector & 3));
    }

    [Fact]
    public void UserMode_HandlerReturns_AndTheProgramGoesOn()
    {
        var guest = Guest(64, a => { a.mov(ecx, 1); a.ud2(); a.add(ecx, 10); a.ud2(); a.add(ecx, 100); }, user: true);
        guest.Handle(6, a => { a.add(__qword_ptr[rsp], 2); a.inc(ecx); a.iretq(); });
        guest.RunToEnd();
        Assert.Equal((113UL, GuestTables.UserStack, 3), (guest[1], guest[4], guest.State.Segments[1].Selector & 3));
    }

    [Fact]
    public void UserMode_SoftwareInterruptThroughAKernelGate_IsAProtectionFault()
    {
        Need(HypervisorCapabilities.FullSystem);
        var guest = Guest(64, a => a.@int(0x20), user: true);
        guest.RunToTrap(13);
        Assert.Equal((0x20UL * 8 + 2, GuestTables.Program), (guest.Frame(0), guest.Frame(1)));
    }

    [Fact]
    public void UserMode_Syscall_AndSysretAgain()
    {
        Need(HypervisorCapabilities.FullSystem);
        var guest = Guest(64, (a, at) => { a.mov(edx, 3); a.syscall(); at("behind"); a.inc(edx); }, user: true);
        guest.Place(GuestTables.Routines, a => { a.mov(__qword_ptr[GuestTables.Data], rcx); a.add(edx, 10); a.sysretq(); });
        // SYSRET takes CS from 0x1B + 16 and SS from 0x1B + 8.
        guest.State.Efer |= 1;
        guest.State.Msrs = [new MsrValue(0xC0000081, 0x001B_0008_0000_0000), new MsrValue(0xC0000082, GuestTables.Routines), new MsrValue(0xC0000084, 0x200)];
        guest.RunToEnd();
        Assert.Equal((14UL, guest["behind"], 3), (guest[2], guest.Read<ulong>(GuestTables.Data), guest.State.Segments[1].Selector & 3));
    }

    [Fact]
    public void UserMode_AlignmentCheck()
    {
        var guest = Guest(64, a => a.mov(eax, __dword_ptr[rsi + 1]), user: true);
        guest[6] = Missing;
        guest.State.Cr0 |= 0x40000;
        guest.State.Rflags |= 0x40000;
        guest.RunToTrap(17);
    }

    [Theory, InlineData(6), InlineData(0), InlineData(13)]
    public void ProtectedMode_ExceptionThroughA32BitGate(int vector)
    {
        var guest = Guest(32, a =>
        {
            if (vector == 6) a.ud2();
            else if (vector == 0) { a.xor(ecx, ecx); a.div(ecx); }
            else { a.mov(eax, 0x200); a.mov(ds, ax); }
        });
        guest.RunToTrap(vector);
        Assert.Equal((ulong)GuestTables.Code32, guest.Frame(vector == 13 ? 2 : 1));
        if (vector == 13) Assert.Equal(0x200UL, guest.Frame(0));
    }

    [Fact]
    public void ProtectedMode_UserException_TakesTheStackOfTheTss()
    {
        var guest = Guest(32, a => a.ud2(), user: true);
        guest.RunToTrap(6);
        Assert.Equal((GuestTables.Program, (ulong)GuestTables.UserCode32, GuestTables.UserStack, (ulong)GuestTables.UserData), (guest.Frame(0), guest.Frame(1), guest.Frame(3), guest.Frame(4)));
        Assert.Equal(GuestTables.InnerStack - 24, guest[4]);
    }

    [Fact]
    public void RealMode_DivideError_GoesThroughTheVectorTable()
    {
        var guest = Guest(16, (a, at) => { a.xor(cx, cx); at("here"); a.div(cx); });
        guest.RunToTrap(0);
        Assert.Equal((guest["here"] + 1, 0UL), (guest.Frame(0), guest.Frame(1)));
    }

    [Fact]
    public void RealMode_SoftwareInterrupt_ReturnsBehindItself()
    {
        var guest = Guest(16, a => { a.@int(0x40); a.inc(cx); });
        guest.Handle(0x40, a => { a.mov(cx, 9); a.iret(); });
        guest.RunToEnd();
        Assert.Equal(10UL, guest[1] & 0xFFFF);
    }

    [Fact]
    public void GateNotPresent_OfNotPresent_IsADoubleFault()
    {
        var guest = Guest(64, a => { a.xor(ecx, ecx); a.div(ecx); });
        guest.SetGate(0, GuestTables.Stubs, type: 0x0E);
        guest.SetGate(11, GuestTables.Stubs, type: 0x0E);
        guest.RunToTrap(8);
        Assert.Equal(0UL, guest.Frame(0));
    }
}
