using Iced.Intel;
using Vmm.Backends.Conformance.Guests;
using Vmm.Core.Backends;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Conformance.Topics;

/// <summary>Non-maskable interrupts.</summary>
public abstract class NmiTests<TBackend> : Conformance<TBackend> where TBackend : BackendUnderTest, new()
{
    private const ulong Count = GuestTables.Data, Depth = GuestTables.Data + 4, Deepest = GuestTables.Data + 8;

    [Theory, InlineData(16), InlineData(32), InlineData(64)]
    public void Nmi_InEveryMode_IsTakenWithInterruptsOff(int bitness)
    {
        var guest = Guest(bitness, a => { a.cli(); a.Signal(); a.Spin(); });
        guest.OnSignal = _ => guest.Vcpu.InjectNmi();
        guest.RunToTrap(2);
    }

    [Fact]
    public void Nmi_FromAnotherThread_IsTaken()
    {
        var guest = Guest(64, a => { a.Signal(); a.Spin(); });
        using var ready = new ManualResetEventSlim();
        guest.OnSignal = _ => ready.Set();
        var run = guest.Start();
        Assert.True(ready.Wait(TestGuest.Patience));
        guest.Vcpu.InjectNmi();
        guest.ShouldEnd(GuestEnd.Trap(2), run.Result);
    }

    [Fact]
    public void Nmi_WithinItsHandler_WaitsForTheReturn()
    {
        var guest = Counting();
        guest.Handle(2, a =>
        {
            a.inc(__dword_ptr[Count]);
            a.inc(__dword_ptr[Depth]);
            a.push(rax);
            a.mov(eax, __dword_ptr[Depth]);
            a.or(__dword_ptr[Deepest], eax);
            a.cmp(__dword_ptr[Count], 1);
            var last = a.CreateLabel();
            a.jne(last);
            a.Signal();
            a.nop();
            a.nop();
            a.Label(ref last);
            a.dec(__dword_ptr[Depth]);
            a.pop(rax);
            a.iretq();
        });
        guest.OnSignal = _ => guest.Vcpu.InjectNmi();
        guest.RunToEnd();
        Assert.Equal((2u, 1u), (guest.Read<uint>(Count), guest.Read<uint>(Deepest)));
    }

    [Fact]
    public void Nmi_PendingInTheState_IsTakenFirst()
    {
        var guest = Guest(64, a => a.Spin());
        guest.State.NmiPending = true;
        guest.RunToTrap(2);
        Assert.Equal(GuestTables.Program, guest.Frame(0));
        Assert.Equal((false, true), (guest.State.NmiPending, guest.State.NmiBlocked));
    }

    [Fact]
    public void Nmi_BlockedInTheState_WaitsForIret()
    {
        var guest = Guest(64, a =>
        {
            a.Signal();
            a.mov(__byte_ptr[Count], 1);
            a.mov(rcx, rsp);
            a.push(GuestTables.DataSelector);
            a.push(rcx);
            a.pushfq();
            a.push(GuestTables.Code64);
            var behind = a.CreateLabel();
            a.lea(rax, __[behind]);
            a.push(rax);
            a.iretq();
            a.Label(ref behind);
            a.nop();
            a.Spin();
        });
        guest.State.NmiBlocked = true;
        guest.OnSignal = _ => guest.Vcpu.InjectNmi();
        guest.RunToTrap(2);
        Assert.Equal(1, guest.Read<byte>(Count));
    }

    private TestGuest Counting() => Guest(64, a =>
    {
        var loop = a.CreateLabel();
        a.Signal();
        a.Label(ref loop);
        a.cmp(__dword_ptr[Count], 2);
        a.jb(loop);
        a.cmp(__dword_ptr[Depth], 0);
        a.jne(loop);
    });
}
