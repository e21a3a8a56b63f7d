using Iced.Intel;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Every exception's vector, error code and return address (Intel SDM vol. 3, 7.15).</summary>
public abstract class ExceptionTests<TEngine> where TEngine : IEngine
{
    private const ulong NonCanonical = 0x8000_0000_0000_0000;

    private static Trap Run(int bitness, bool user, Action<Assembler> fault, Action<SystemGuest>? prepare = null)
    {
        using var guest = new SystemGuest<TEngine>(bitness, (a, mark) =>
        {
            a.nop();
            mark("fault");
            fault(a);
            mark("after");
        }, user: user);
        prepare?.Invoke(guest);
        var trap = guest.RunToTrap();
        // Where is told by name, so that every case below says what the manual says.
        return trap with { Rip = trap.Rip == guest["fault"] ? 0UL : trap.Rip == guest["after"] ? 1UL : trap.Rip };
    }

    private static Trap Fault(int vector, uint error = 0) => new(vector, error, 0);

    private static Trap After(int vector) => new(vector, 0, 1);

    [Theory]
    [InlineData(16), InlineData(32), InlineData(64)]
    public void DivideError_IsAFault(int bitness) => Assert.Equal(Fault(0), Run(bitness, false, a => a.div(cl), g => g[1] = 0));

    [Theory]
    [InlineData(16), InlineData(32), InlineData(64)]
    public void Breakpoint_IsATrap(int bitness) => Assert.Equal(After(3), Run(bitness, false, a => a.int3()));

    [Theory]
    [InlineData(16), InlineData(32)]
    public void Overflow_IsATrap(int bitness) => Assert.Equal(After(4), Run(bitness, false, a => a.into(), g => g.State.Rflags |= 0x800));

    [Fact]
    public void Bound_OutOfRange_IsAFault() => Assert.Equal(Fault(5), Run(32, false, a => a.bound(eax, __qword_ptr[0x10000]), g => g[0] = 1));

    [Theory]
    [InlineData(16), InlineData(32), InlineData(64)]
    public void UndefinedOpcode_IsAFault(int bitness) => Assert.Equal(Fault(6), Run(bitness, false, a => a.ud2()));

    [Fact]
    public void LockedRegisterForm_IsUndefined() => Assert.Equal(Fault(6), Run(64, false, a => a.db(0xF0, 0x01, 0xC0)));

    [Fact]
    public void MoveToCs_IsUndefined() => Assert.Equal(Fault(6), Run(64, false, a => a.db(0x8E, 0xC8)));

    [Theory]
    [InlineData(0xD9, 0xD0), InlineData(0x0F, 0x58)]
    public void FpuOrSse_TaskSwitched_IsDeviceNotAvailable(byte first, byte second) => Assert.Equal(Fault(7), Run(64, false, a => a.db(first, second, 0xC0), g => g.State.Cr0 |= 8));

    [Fact]
    public void Wait_MonitorAndTaskSwitched_IsDeviceNotAvailable() => Assert.Equal(Fault(7), Run(64, false, a => a.wait(), g => g.State.Cr0 |= 0xA));

    [Fact]
    public void Selector_BeyondTheTable_IsProtectionFaultWithSelector() => Assert.Equal(Fault(13, 0x2000), Run(64, false, a => a.mov(ds, eax), g => g[0] = 0x2003));

    [Fact]
    public void Segment_NotPresent_HasSelector() => Assert.Equal(Fault(11, SystemGuest.Absent), Run(32, false, a => a.mov(es, eax), g => g[0] = SystemGuest.Absent));

    [Fact]
    public void StackSegment_NotPresent_IsStackFaultWithSelector() => Assert.Equal(Fault(12, SystemGuest.Absent), Run(32, false, a => a.mov(ss, eax), g => g[0] = SystemGuest.Absent));

    [Fact]
    public void NullStackSegment_Ring0Protected_IsProtectionFault() => Assert.Equal(Fault(13), Run(32, false, a => a.mov(ss, eax), g => g[0] = 0));

    [Theory]
    [InlineData(13, false), InlineData(12, true)]
    public void NonCanonicalAddress_IsProtectionOrStackFault(int vector, bool stack) =>
        Assert.Equal(Fault(vector), Run(64, false, a => a.mov(eax, stack ? __dword_ptr[rbp] : __dword_ptr[rcx]), g => (g[1], g[5]) = (NonCanonical, NonCanonical)));

    [Fact]
    public void NonCanonicalStackPointer_Push_IsStackFault() =>
        Assert.Equal(Fault(12), Run(64, true, a => a.push(rax), g => g[4] = NonCanonical));

    [Fact]
    public void NonCanonicalBranch_IsAFaultOfTheBranch() => Assert.Equal(Fault(13), Run(64, false, a => a.jmp(rcx), g => g[1] = NonCanonical));

    [Theory]
    [InlineData(0x0F, 0x30), InlineData(0x0F, 0x32), InlineData(0xF4, 0x90), InlineData(0xFA, 0x90), InlineData(0x0F, 0x06), InlineData(0x0F, 0x09)]
    public void PrivilegedInstruction_Ring3_IsProtectionFault(byte first, byte second)
    {
        var trap = Run(64, true, a => a.db(first, second));
        Assert.Equal(Fault(13), trap);
    }

    [Fact]
    public void PortAccess_Ring3WithoutBitmap_IsProtectionFault() => Assert.Equal(Fault(13), Run(64, true, a => a.@in(al, dx)));

    [Fact]
    public void SoftwareInterrupt_Ring3ToKernelGate_IsProtectionFaultWithGate() => Assert.Equal(Fault(13, 0x40 * 8 + 2), Run(64, true, a => a.@int(0x40)));

    [Fact]
    public void SoftwareInterrupt_GateNotPresent_HasGateWithoutExternalBit() =>
        Assert.Equal(Fault(11, 0x41 * 8 + 2), Run(64, false, a => a.@int(0x41), g => g.SetGate(0x41, SystemGuest.Handlers, 0, type: 0x0E)));

    [Fact]
    public void TaskStateSegment_TooShortForInnerStack_IsInvalidTss()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.@int(0x80), user: true);
        guest.State.Tr = guest.State.Tr with { Limit = 10 };
        guest.SetGate(10, SystemGuest.Handlers + 160, 0, ist: 0);
        // #TS needs the same stack: with none there it ends in a double fault, and then a shutdown.
        Assert.Equal(Vmm.Core.Backends.VcpuStopKind.Shutdown, guest.Run().Kind);
    }

    [Fact]
    public void AlignmentCheck_Ring3_HasErrorZero() => Assert.Equal(Fault(17), Run(64, true, a => a.mov(eax, __dword_ptr[0x10001]), g => (g.State.Cr0, g.State.Rflags) = (g.State.Cr0 | 1 << 18, g.State.Rflags | 0x40000)));

    [Fact]
    public void AlignmentCheck_Ring0_IsOff() =>
        Assert.Equal(After(3), Run(64, false, a => { a.mov(eax, __dword_ptr[0x10001]); a.int3(); }, g => (g.State.Cr0, g.State.Rflags) = (g.State.Cr0 | 1 << 18, g.State.Rflags | 0x40000)));

    [Fact]
    public void SingleStep_TrapsAfterOneInstruction()
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) => { a.inc(eax); mark("second"); a.inc(eax); });
        guest.State.Rflags |= 0x100;
        Assert.Equal(new Trap(1, 0, guest["second"]), guest.RunToTrap());
        Assert.Equal(0x4000UL, guest.State.Debug[6] & 0xE00F);
        Assert.Equal(0UL, guest.State.Rflags & 0x100);
    }

    [Fact]
    public void SingleStep_SoftwareInterrupt_HandlerIsNotStepped()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.@int(0x80));
        guest.State.Rflags |= 0x100;
        Assert.Equal(0x80, guest.RunToTrap().Vector);
    }

    [Fact]
    public void SingleStep_PopfSetsTrapFlag_NextInstructionIsDone()
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) => { a.push(0x102); a.popfq(); a.mov(ecx, 7); mark("after"); a.mov(ecx, 8); });
        Assert.Equal(new Trap(1, 0, guest["after"]), guest.RunToTrap());
        Assert.Equal(7UL, guest[1]);
    }

    [Fact]
    public void ExecuteBreakpoint_IsAFaultAndResumeFlagPassesIt()
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) => { a.nop(); mark("here"); a.mov(ecx, 7); });
        (guest.State.Debug[0], guest.State.Debug[7]) = (guest["here"], 0x401);
        Assert.Equal(new Trap(1, 0, guest["here"]), guest.RunToTrap());
        Assert.Equal(1UL, guest.State.Debug[6] & 0xE00F);
        // Back with RF set, as a debugger does.
        guest.GoTo(guest["here"]);
        guest.State.Rflags = 0x10002;
        guest[1] = 0;
        guest.RunToEnd();
        Assert.Equal(7UL, guest[1]);
    }

    [Theory]
    [InlineData(0x10000UL, true), InlineData(0x10003UL, true), InlineData(0x10004UL, false)]
    public void WriteBreakpoint_OverlappingStore_TrapsAfterIt(ulong address, bool hit)
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) => { a.mov(__byte_ptr[rax], 1); mark("after"); a.nop(); });
        guest[0] = address;
        // DR1: writes of 4 bytes at 0x10000.
        (guest.State.Debug[1], guest.State.Debug[7]) = (0x10000, 0x400 | 4 | 0xDUL << 20);
        if (!hit)
        {
            guest.RunToEnd();
            return;
        }

        Assert.Equal(new Trap(1, 0, guest["after"]), guest.RunToTrap());
        Assert.Equal(2UL, guest.State.Debug[6] & 0xE00F);
        Assert.Equal(1, guest.Read<byte>(address));
    }

    [Fact]
    public void GeneralDetect_DebugRegisterAccess_Faults()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.mov(rax, dr0));
        guest.State.Debug[7] = 0x2400;
        Assert.Equal(new Trap(1, 0, SystemGuest.Start), guest.RunToTrap());
        Assert.Equal((0x2000UL, 0x400UL), (guest.State.Debug[6] & 0xE00F, guest.State.Debug[7]));
    }
}
