using Iced.Intel;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Hardware task switches (Intel SDM vol. 3, chapter 9).</summary>
public abstract class TaskSwitchTests<TEngine> where TEngine : IEngine
{
    private const uint NewStack = 0x34000, Body = 0x70000;

    private static SystemGuest Make(Action<Assembler, Action<string>> body, Action<Assembler, Action<string>> task, ushort ds = SystemGuest.Data)
    {
        var guest = new SystemGuest<TEngine>(32, body);
        const ulong tss = SystemGuest.SecondTss;
        guest.SetDescriptor(SystemGuest.NextTask, tss, 0x67, 0x89);
        guest.SetGateDescriptor(SystemGuest.TaskGate, SystemGuest.NextTask, 0, 0x85, 0);
        guest.Write(tss + 32, Body);
        guest.Write(tss + 36, 2U);
        guest.Write(tss + 40, 0xAAAAU);
        guest.Write(tss + 56, NewStack);
        ReadOnlySpan<ushort> segments = [SystemGuest.Data, SystemGuest.Code32, SystemGuest.Data, ds, 0, 0];
        for (var i = 0; i < 6; i++) guest.Write(tss + 72 + (ulong)i * 4, (uint)segments[i]);
        return guest.Place(Body, 32, task);
    }

    private static byte Type(SystemGuest guest, ushort selector) => (byte)(guest.Read<byte>(SystemGuest.Gdt + selector + 5) & 0x1F);

    [Fact]
    public void Jump_SavesTheOldTaskAndLoadsTheNew()
    {
        using var guest = Make((a, mark) => { a.nop(); a.db(0xEA, 0, 0, 0, 0, (byte)SystemGuest.NextTask, 0); mark("after"); a.nop(); }, (a, _) => a.nop());
        guest[3] = 0xBBBB;
        guest.RunToEnd();
        Assert.Equal((0xAAAAUL, (ulong)NewStack, (ulong)Body + 2), (guest[0], guest[4], guest.State.Rip));
        Assert.Equal(((uint)guest["after"], 0xBBBBU), (guest.Read<uint>(SystemGuest.Tss + 32), guest.Read<uint>(SystemGuest.Tss + 52)));
        Assert.Equal((9, 0xB), (Type(guest, SystemGuest.TssSelector), Type(guest, SystemGuest.NextTask)));
        Assert.Equal((SystemGuest.NextTask, 8UL, 0UL), (guest.State.Tr.Selector, guest.State.Cr0 & 8, guest.State.Rflags & 0x4000));
    }

    [Fact]
    public void CallAndReturn_ThroughATaskGate_ComeBack()
    {
        using var guest = Make((a, _) => { a.db(0x9A, 0, 0, 0, 0, (byte)SystemGuest.TaskGate, 0); a.mov(ecx, 5); }, (a, _) => { a.pushfd(); a.pop(ebx); a.mov(__dword_ptr[0x10000], ebx); a.iretd(); });
        guest.RunToEnd();
        Assert.Equal((5UL, SystemGuest.TssSelector), (guest[1], guest.State.Tr.Selector));
        Assert.Equal((0x4000U, 0UL), (guest.Read<uint>(0x10000) & 0x4000, guest.State.Rflags & 0x4000));
        Assert.Equal((0xB, 9), (Type(guest, SystemGuest.TssSelector), Type(guest, SystemGuest.NextTask)));
        Assert.Equal(SystemGuest.TssSelector, guest.Read<ushort>(SystemGuest.SecondTss));
    }

    [Fact]
    public void Exception_ThroughATaskGate_PushesItsErrorCodeThere()
    {
        using var guest = Make((a, mark) => { mark("fault"); a.mov(es, ecx); }, (a, _) => a.pop(ebx));
        guest.SetGate(13, 0, 0, selector: SystemGuest.NextTask, type: 0x85);
        guest[1] = 0x2000;
        guest.RunToEnd();
        Assert.Equal((0x2000UL, (ulong)NewStack), (guest[3], guest[4]));
        Assert.Equal((uint)guest["fault"], guest.Read<uint>(SystemGuest.Tss + 32));
    }

    [Fact]
    public void BadSegmentOfTheNewTask_IsItsOwnInvalidTss()
    {
        using var guest = Make((a, _) => a.db(0xEA, 0, 0, 0, 0, (byte)SystemGuest.NextTask, 0), (a, _) => a.nop(), ds: 0x2000);
        Assert.Equal(new Trap(10, 0x2000, Body), guest.RunToTrap());
        Assert.Equal(SystemGuest.NextTask, guest.State.Tr.Selector);
    }

    [Fact]
    public void BusyTask_IsProtectionFaultOfTheOldTask()
    {
        using var guest = Make((a, _) => a.db(0xEA, 0, 0, 0, 0, (byte)SystemGuest.NextTask, 0), (a, _) => a.nop());
        guest.SetDescriptor(SystemGuest.NextTask, SystemGuest.SecondTss, 0x67, 0x8B);
        Assert.Equal(new Trap(13, SystemGuest.NextTask, SystemGuest.Start), guest.RunToTrap());
    }

    [Fact]
    public void ShortTask_IsInvalidTss()
    {
        using var guest = Make((a, _) => a.db(0xEA, 0, 0, 0, 0, (byte)SystemGuest.NextTask, 0), (a, _) => a.nop());
        guest.SetDescriptor(SystemGuest.NextTask, SystemGuest.SecondTss, 0x66, 0x89);
        Assert.Equal(new Trap(10, SystemGuest.NextTask, SystemGuest.Start), guest.RunToTrap());
    }

    [Fact]
    public void DebugTrapFlag_TrapsBeforeTheFirstInstruction()
    {
        using var guest = Make((a, _) => a.db(0xEA, 0, 0, 0, 0, (byte)SystemGuest.NextTask, 0), (a, _) => a.nop());
        guest.Write<ushort>(SystemGuest.SecondTss + 100, 1);
        Assert.Equal(new Trap(1, 0, Body), guest.RunToTrap());
        Assert.Equal(0x8000UL, guest.State.Debug[6] & 0xE00F);
    }
}
