using Iced.Intel;
using Vmm.Backends.Conformance.Guests;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.X86;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Conformance.Topics;

/// <summary>HLT: what wakes it, and what does not.</summary>
public abstract class HaltTests<TBackend> : Conformance<TBackend> where TBackend : BackendUnderTest, new()
{
    private const ulong Flag = GuestTables.Data;

    [Fact]
    public void Interrupt_WakesIt_AndTheHandlerReturnsBehindTheHlt()
    {
        var guest = Guest(64, (a, at) => { a.ApicEnable(); a.Signal(); a.sti(); a.hlt(); at("behind"); a.cli(); });
        guest.Handle(0x51, a => { a.push(rbx); a.mov(rax, __[rsp + 8]); a.mov(__qword_ptr[Flag], rax); a.ApicEoi(); a.pop(rbx); a.iretq(); });
        RunAndSend(guest, () => guest.Partition.SignalMsi(new MsiMessage(0xFEE00000, 0x51)));
        Assert.Equal(guest["behind"], guest.Read<ulong>(Flag));
    }

    [Fact]
    public void ExternalPin_WakesIt()
    {
        var guest = Guest(64, a => { a.Signal(); a.sti(); a.hlt(); a.cli(); });
        guest.Handle(0x31, a => { a.mov(__byte_ptr[Flag], 1); a.iretq(); });
        guest.Bus.ExternalInterruptController = () =>
        {
            guest.Vcpu.SetExternalInterrupt(false);
            return 0x31;
        };
        RunAndSend(guest, () => guest.Vcpu.SetExternalInterrupt(true));
        Assert.Equal(1, guest.Read<byte>(Flag));
    }

    [Fact]
    public void Nmi_WakesIt_WithInterruptsOff()
    {
        var guest = Guest(64, (a, at) => { a.cli(); a.Signal(); a.hlt(); at("behind"); a.nop(); });
        // It may come before the HLT, which must not wait for another then.
        guest.Handle(2, a => { a.mov(__byte_ptr[Flag], 1); a.mov(rax, guest["behind"]); a.mov(__[rsp], rax); a.iretq(); });
        RunAndSend(guest, guest.Vcpu.InjectNmi);
        Assert.Equal(1, guest.Read<byte>(Flag));
    }

    [Fact]
    public void ApicTimer_WakesIt()
    {
        Need(HypervisorCapabilities.LocalApic);
        var guest = Guest(64, a => { a.ApicEnable(); a.ApicWrite(0x3E0, 0xB); a.ApicWrite(0x320, 0x54); a.ApicWrite(0x380, 1_000_000); a.sti(); a.hlt(); a.cli(); });
        guest.Handle(0x54, a => { a.mov(__byte_ptr[Flag], 1); a.iretq(); });
        guest.RunToEnd();
        Assert.Equal(1, guest.Read<byte>(Flag));
    }

    [Fact]
    public void PendingBeforeStiHlt_IsTakenInTheHlt_NotBefore()
    {
        var guest = Guest(64, (a, at) => { a.ApicEnable(); a.Signal(); a.sti(); a.hlt(); at("behind"); a.cli(); });
        guest.Handle(0x51, a => { a.push(rbx); a.mov(rax, __[rsp + 8]); a.mov(__qword_ptr[Flag], rax); a.ApicEoi(); a.pop(rbx); a.iretq(); });
        guest.OnSignal = _ => guest.Partition.SignalMsi(new MsiMessage(0xFEE00000, 0x51));
        guest.RunToEnd();
        Assert.Equal(guest["behind"], guest.Read<ulong>(Flag));
    }

    [Fact]
    public void Kick_DoesNotWakeIt()
    {
        var guest = Guest(64, a => { a.ApicEnable(); a.Signal(); a.sti(); a.hlt(); a.inc(__byte_ptr[Flag]); a.cli(); });
        guest.Handle(0x51, a => { a.push(rbx); a.ApicEoi(); a.pop(rbx); a.iretq(); });
        using var halting = new ManualResetEventSlim();
        guest.OnSignal = _ => halting.Set();
        var run = guest.Start();
        Assert.True(halting.Wait(TestGuest.Patience));
        // So many that some come in the middle of every step of waking and halting again.
        for (var i = 0; i < 2000; i++) guest.Vcpu.Kick();
        Assert.False(run.IsCompleted);
        Assert.Equal(0, guest.Read<byte>(Flag));
        guest.Partition.SignalMsi(new MsiMessage(0xFEE00000, 0x51));
        Assert.Equal(EndKind.Exit, run.Result.Kind);
        Assert.Equal(1, guest.Read<byte>(Flag));
    }

    [Fact]
    public void State_OfAHaltedVcpu_SaysSo_AndCanGoOn()
    {
        var guest = Guest(64, a => { a.ApicEnable(); a.sti(); a.Signal(); a.hlt(); a.mov(__byte_ptr[Flag], 1); a.cli(); });
        guest.Handle(0x51, a => { a.push(rbx); a.ApicEoi(); a.pop(rbx); a.iretq(); });
        var vcpu = guest.Vcpu;
        vcpu.SetState(guest.State);
        RunToHalt(guest);
        vcpu.GetState(guest.State);
        Assert.Equal(MpState.Halted, guest.State.MpState);

        // Loaded again it is still halted; an interrupt, not the load, wakes it.
        vcpu.SetState(guest.State);
        RunToHalt(guest);
        Assert.Equal(0, guest.Read<byte>(Flag));
        guest.Partition.SignalMsi(new MsiMessage(0xFEE00000, 0x51));
        Assert.Equal(EndKind.Exit, guest.Continue().Kind);
        Assert.Equal(1, guest.Read<byte>(Flag));
    }

    [Fact]
    public void InterruptsOff_MsiDoesNotWakeIt()
    {
        var guest = Guest(64, a => { a.ApicEnable(); a.cli(); a.hlt(); a.mov(__byte_ptr[Flag], 1); });
        guest.Vcpu.SetState(guest.State);
        RunToHalt(guest);
        guest.Partition.SignalMsi(new MsiMessage(0xFEE00000, 0x51));
        RunToHalt(guest);
        Assert.Equal(0, guest.Read<byte>(Flag));
        guest.Vcpu.InjectNmi();
        guest.ShouldEnd(GuestEnd.Trap(2), guest.Continue());
    }

    private static void RunAndSend(TestGuest guest, Action send)
    {
        using var ready = new ManualResetEventSlim();
        guest.OnSignal = _ => ready.Set();
        var run = guest.Start();
        Assert.True(ready.Wait(TestGuest.Patience));
        send();
        guest.ShouldEnd(new GuestEnd(EndKind.Exit), run.Result with { Value = 0 });
    }

    // Where HLT stays inside Run nothing tells that it was reached; a kick some thousand instructions later finds it there.
    private static void RunToHalt(TestGuest guest)
    {
        var state = new VcpuState();
        for (var tries = 0; tries < 1000; tries++)
        {
            using var timer = new Timer(_ => guest.Vcpu.Kick(), null, 20, 20);
            var stop = guest.Vcpu.Run();
            if (stop.Kind == VcpuStopKind.Halted) return;
            Assert.Equal(VcpuStopKind.Kicked, stop.Kind);
            guest.Vcpu.GetState(state);
            if (state.MpState == MpState.Halted) return;
        }

        Assert.Fail("never halts");
    }
}
