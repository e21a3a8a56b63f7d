using Iced.Intel;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Protected mode: limits, privilege, gates (Intel SDM vol. 3, chapters 3, 6 and 7).</summary>
public abstract class SegmentationTests<TEngine> where TEngine : IEngine
{
    private const ushort User = 3;

    [Theory]
    [InlineData(SystemGuest.Short, 0xFFCUL, false)]
    [InlineData(SystemGuest.Short, 0xFFDUL, true)]
    [InlineData(SystemGuest.ExpandDown, 0x1000UL, false)]
    [InlineData(SystemGuest.ExpandDown, 0xFFFUL, true)]
    [InlineData(SystemGuest.ExpandDown, 0xFFF_FFFFUL, false)]
    public void Limit_DataSegment_IsProtectionFault(ushort selector, ulong offset, bool faults)
    {
        using var guest = new SystemGuest<TEngine>(32, (a, mark) => { a.mov(es, ecx); mark("load"); a.db(0x26); a.mov(eax, __dword_ptr[ebx]); });
        (guest[1], guest[3]) = (selector, offset);
        if (!faults) guest.RunToEnd();
        else Assert.Equal(new Trap(13, 0, guest["load"]), guest.RunToTrap());
    }

    [Fact]
    public void Limit_StackSegment_IsStackFault()
    {
        // The new stack is too short for EBP; the handler must have a stack of its own, so the fault is taken from ring 3.
        using var guest = new SystemGuest<TEngine>(32, (a, mark) => { a.mov(ss, ecx); mark("load"); a.mov(eax, __dword_ptr[ebp]); }, user: true);
        (guest[1], guest[5]) = (SystemGuest.Short | User, 0x1000);
        Assert.Equal(new Trap(12, 0, guest["load"]), guest.RunToTrap());
    }

    [Fact]
    public void NullSelector_LoadsAndFaultsOnUse()
    {
        using var guest = new SystemGuest<TEngine>(32, (a, mark) => { a.mov(es, ecx); mark("use"); a.db(0x26); a.mov(eax, __dword_ptr[ebx]); });
        guest[1] = 3;
        Assert.Equal(new Trap(13, 0, guest["use"]), guest.RunToTrap());
    }

    [Fact]
    public void CodeSegment_Write_IsProtectionFault()
    {
        using var guest = new SystemGuest<TEngine>(32, a => { a.db(0x2E); a.mov(__dword_ptr[ebx], eax); });
        guest[3] = 0x10000;
        Assert.Equal(new Trap(13, 0, SystemGuest.Start), guest.RunToTrap());
    }

    [Fact]
    public void Load_SetsTheAccessedBit()
    {
        using var guest = new SystemGuest<TEngine>(32, a => a.mov(es, ecx));
        guest.SetDescriptor(SystemGuest.Free, 0, 0xFFFF, 0x4092);
        guest[1] = SystemGuest.Free;
        guest.RunToEnd();
        Assert.Equal(0x93, guest.Read<byte>(SystemGuest.Gdt + SystemGuest.Free + 5));
    }

    [Fact]
    public void LocalTable_Selector_ReadsThere()
    {
        using var guest = new SystemGuest<TEngine>(32, a => { a.lldt(cx); a.mov(edx, 0x0C); a.mov(es, edx); a.db(0x26); a.mov(eax, __dword_ptr[ebx]); });
        guest.Write(0x11020, 0xCAFEU);
        (guest[1], guest[3]) = (SystemGuest.LdtSelector, 0x20);
        guest.RunToEnd();
        Assert.Equal(0xCAFEUL, guest[0]);
    }

    [Fact]
    public void LocalTable_None_IsProtectionFaultWithSelector()
    {
        using var guest = new SystemGuest<TEngine>(32, a => a.mov(es, edx));
        guest[2] = 0x0C;
        Assert.Equal(new Trap(13, 0x0C, SystemGuest.Start), guest.RunToTrap());
    }

    [Fact]
    public void CallGate_ToInnerRing_CopiesParametersAndReturnsOutward()
    {
        using var guest = new SystemGuest<TEngine>(32, a =>
        {
            a.push(0x1111);
            a.push(0x2222);
            a.db(0x9A, 0, 0, 0, 0, (byte)(SystemGuest.Gate | User), 0);
            a.mov(esi, cs);
            a.@int(0x80);
        }, user: true);
        guest.Place(0x70000, 32, (a, _) => { a.mov(eax, __dword_ptr[esp + 8]); a.mov(ebx, __dword_ptr[esp + 12]); a.mov(ecx, cs); a.mov(edi, ss); a.retf(8); });
        guest.SetGateDescriptor(SystemGuest.Gate, SystemGuest.Code32, 0x70000, 0xEC, 2);
        Assert.Equal(0x80, guest.RunToTrap().Vector);
        Assert.Equal((0x2222UL, 0x1111UL), (guest[0], guest[3]));
        Assert.Equal(((ulong)SystemGuest.Code32, (ulong)SystemGuest.Data, (ulong)SystemGuest.UserCode32), (guest[1], guest[7], guest[6]));
        // ESP and SS that the interrupt pushed: both parameters are gone from the outer stack.
        Assert.Equal((uint)SystemGuest.UserStack, guest.Read<uint>(guest[4] + 12));
        Assert.Equal((uint)SystemGuest.UserData, guest.Read<uint>(guest[4] + 16));
    }

    [Fact]
    public void CallGate_BelowItsPrivilege_IsProtectionFaultWithSelector()
    {
        using var guest = new SystemGuest<TEngine>(32, a => a.db(0x9A, 0, 0, 0, 0, (byte)(SystemGuest.Gate | User), 0), user: true);
        guest.SetGateDescriptor(SystemGuest.Gate, SystemGuest.Code32, 0x70000, 0x8C, 0);
        Assert.Equal(new Trap(13, SystemGuest.Gate, SystemGuest.Start), guest.RunToTrap());
    }

    [Fact]
    public void FarReturn_ToOuterRing_EmptiesPrivilegedSegments()
    {
        using var guest = new SystemGuest<TEngine>(32, a =>
        {
            a.push(SystemGuest.UserData);
            a.push(0x28000);
            a.push(SystemGuest.UserCode32);
            a.push(0x70000);
            a.retf();
        });
        guest.Place(0x70000, 32, (a, _) => { a.mov(eax, ds); a.@int(0x80); });
        Assert.Equal(0x80, guest.RunToTrap().Vector);
        Assert.Equal(0UL, guest[0]);
        Assert.Equal(0x28000U, guest.Read<uint>(guest[4] + 12));
    }

    [Fact]
    public void FarReturn_ToInnerRing_IsProtectionFault()
    {
        using var guest = new SystemGuest<TEngine>(32, (a, mark) => { a.push(SystemGuest.Code32); a.push(0x70000); mark("ret"); a.retf(); }, user: true);
        Assert.Equal(new Trap(13, SystemGuest.Code32, guest["ret"]), guest.RunToTrap());
    }

    [Fact]
    public void Interrupt_FromRing3_PushesFiveWordsOnTheInnerStack()
    {
        using var guest = new SystemGuest<TEngine>(32, (a, mark) => { a.@int(0x80); mark("after"); }, user: true);
        Assert.Equal(new Trap(0x80, 0, guest["after"]), guest.RunToTrap());
        Assert.Equal(SystemGuest.InnerStack - 20, guest[4]);
        Assert.Equal((SystemGuest.UserCode32, 2U, (uint)SystemGuest.UserStack, (uint)SystemGuest.UserData),
            (guest.Read<ushort>(guest[4] + 4), guest.Read<uint>(guest[4] + 8), guest.Read<uint>(guest[4] + 12), guest.Read<uint>(guest[4] + 16)));
    }

    [Fact]
    public void Interrupt_NullInnerStack_IsInvalidTssWithErrorZero()
    {
        // #TS cannot be delivered through the same TSS, so it has a task gate's equivalent: a conforming handler in ring 3.
        using var guest = new SystemGuest<TEngine>(32, (a, _) => a.@int(0x80), user: true);
        guest.Write<uint>(SystemGuest.Tss + 8, 0);
        guest.SetDescriptor(SystemGuest.Free, 0, uint.MaxValue, 0xC09F);
        guest.SetGate(10, 0x70000, 0, selector: SystemGuest.Free);
        guest.Place(0x70000, 32, (a, _) => { a.pop(eax); a.pop(ebx); a.mov(ecx, cs); a.mov(__dword_ptr[0x500000], eax); a.db(0xEB, 0xFE); });
        // Ring 3 cannot halt: its store to a device ends the run.
        guest.Bus.Mmio.Map(0x500000, 4, new Stopper(guest));
        Assert.Equal(VcpuStopKind.Kicked, guest.Run().Kind);
        Assert.Equal((0UL, SystemGuest.Start, (ulong)(SystemGuest.Free | User)), (guest[0], guest[3], guest[1]));
    }

    [Fact]
    public void SixteenBitCode_RunsWithSixteenBitStack()
    {
        using var guest = new SystemGuest<TEngine>(32, a =>
        {
            a.mov(ecx, SystemGuest.Data16);
            a.mov(ss, ecx);
            a.mov(esp, 0x12340002);
            a.db(0xEA, 0, 0x70, 0, 0, (byte)SystemGuest.Code16, 0);
        });
        guest.Place(0x7000, 16, (a, _) => { a.push(ax); a.push(bx); });
        (guest[0], guest[3]) = (0x1234, 0x5678);
        guest.RunToEnd();
        Assert.Equal(0x1234FFFEUL, guest[4]);
        Assert.Equal(((ushort)0x1234, (ushort)0x5678), (guest.Read<ushort>(0), guest.Read<ushort>(0xFFFE)));
    }

    [Fact]
    public void CodeLimit_Passed_IsProtectionFaultAtTheInstruction()
    {
        using var guest = new SystemGuest<TEngine>(32, a => a.db(0xEA, 0xFE, 0xFF, 0, 0, (byte)SystemGuest.Code16, 0));
        // MOV AX, imm16 with its last byte beyond the limit of 64 KiB.
        guest.Bytes(0xFFFE, 0xB8, 1, 2);
        guest.State.Segments[2] = SegmentState.Data32(SystemGuest.Data);
        Assert.Equal(new Trap(13, 0, 0xFFFE), guest.RunToTrap());
    }

    private sealed class Stopper(SystemGuest guest) : IIoHandler
    {
        public ulong Read(uint offset, int size) => 0;

        public void Write(uint offset, int size, ulong value) => guest.Cpu.Kick();
    }
}
