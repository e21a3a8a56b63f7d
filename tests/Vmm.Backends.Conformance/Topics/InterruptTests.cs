using Iced.Intel;
using Vmm.Backends.Conformance.Guests;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Conformance.Topics;

/// <summary>Each way an interrupt comes in, and when it is taken.</summary>
public abstract class InterruptTests<TBackend> : Conformance<TBackend> where TBackend : BackendUnderTest, new()
{
    private const ulong Flag = GuestTables.Data;

    [Fact]
    public void Msi_Fixed_IsTaken()
    {
        var guest = Spinning(g => g.Partition.SignalMsi(Message(0x51)));
        guest.RunToTrap(0x51);
        Assert.Equal(0x200UL, guest.Frame(2) & 0x200);
    }

    [Fact]
    public void Msi_FromAnotherThread_IsTaken()
    {
        var guest = Spinning(null);
        using var ready = new ManualResetEventSlim();
        guest.OnSignal = _ => ready.Set();
        var run = guest.Start();
        Assert.True(ready.Wait(TestGuest.Patience));
        guest.Partition.SignalMsi(Message(0x51));
        guest.ShouldEnd(GuestEnd.Trap(0x51), run.Result);
    }

    [Fact]
    public void Msi_LogicalDestination_IsTaken()
    {
        var guest = Guest(64, a => { a.ApicEnable(); a.ApicWrite(0xD0, 0x02000000); a.sti(); a.Signal(); a.Spin(); });
        guest.OnSignal = _ =>
        {
            guest.Partition.SignalMsi(new MsiMessage(0xFEE01004, 0x61));
            guest.Partition.SignalMsi(new MsiMessage(0xFEE02004, 0x51));
        };
        guest.RunToTrap(0x51);
    }

    [Fact]
    public void Msi_LowestPriority_IsTaken()
    {
        var guest = Spinning(g => g.Partition.SignalMsi(Message(0x151)));
        guest.RunToTrap(0x51);
    }

    [Fact]
    public void Msi_Nmi_IsTakenWithInterruptsOff()
    {
        var guest = Guest(64, a => { a.ApicEnable(); a.Signal(); a.Spin(); });
        guest.OnSignal = _ => guest.Partition.SignalMsi(Message(0x400));
        guest.RunToTrap(2);
    }

    [Fact]
    public void Msi_ToAnotherApic_IsNotTaken()
    {
        var guest = Guest(64, a => { a.ApicEnable(); a.sti(); a.Signal(); a.nop(); a.Signal(); a.nop(); });
        guest.OnSignal = _ => guest.Partition.SignalMsi(new MsiMessage(0xFEE07000, 0x51));
        guest.RunToEnd();
    }

    [Theory, InlineData(0xFEE00000UL, 0x05u), InlineData(0x1000UL, 0x51u), InlineData(0xFFFF_FFFF_FEE0_0000UL, 0x51u), InlineData(0xFEE00000UL, 0x351u)]
    public void Msi_Malformed_IsDropped(ulong address, uint data)
    {
        var guest = Guest(64, a => { a.ApicEnable(); a.sti(); a.Signal(); a.nop(); a.nop(); });
        guest.OnSignal = _ => guest.Partition.SignalMsi(new MsiMessage(address, data));
        guest.RunToEnd();
    }

    [Fact]
    public void Msi_ApicOff_IsNotTaken()
    {
        var guest = Guest(64, a => { a.sti(); a.Signal(); a.nop(); a.nop(); });
        guest.OnSignal = _ => guest.Partition.SignalMsi(Message(0x51));
        guest.RunToEnd();
    }

    [Fact]
    public void Level_EndOfInterrupt_IsTold()
    {
        var guest = Guest(64, a => { a.ApicEnable(); a.Signal(); a.sti(); a.hlt(); a.cli(); });
        guest.Handle(0x51, a => { a.push(rbx); a.mov(__byte_ptr[Flag], 1); a.ApicEoi(); a.pop(rbx); a.iretq(); });
        var ends = new List<(byte Vector, int Flag)>();
        guest.Bus.EndOfInterruptListener = v => ends.Add((v, guest.Read<byte>(Flag)));
        guest.OnSignal = _ => guest.Partition.SignalMsi(Message(0xC051));
        guest.RunToEnd();
        Assert.Equal([((byte)0x51, 1)], ends);
    }

    [Fact]
    public void Edge_EndOfInterrupt_IsNotTold()
    {
        var guest = Guest(64, a => { a.ApicEnable(); a.Signal(); a.sti(); a.hlt(); a.cli(); });
        guest.Handle(0x51, a => { a.push(rbx); a.ApicEoi(); a.pop(rbx); a.iretq(); });
        var ends = 0;
        guest.Bus.EndOfInterruptListener = _ => ends++;
        guest.OnSignal = _ => guest.Partition.SignalMsi(Message(0x51));
        guest.RunToEnd();
        Assert.Equal(0, ends);
    }

    [Fact]
    public void Level_RaisedAgainAtItsEnd_ComesAgain()
    {
        var guest = Guest(64, a =>
        {
            var loop = a.CreateLabel();
            a.ApicEnable();
            a.sti();
            a.Signal();
            a.Label(ref loop);
            a.cmp(__byte_ptr[Flag], 3);
            a.jb(loop);
            a.cli();
        });
        guest.Handle(0x51, a => { a.push(rbx); a.inc(__byte_ptr[Flag]); a.ApicEoi(); a.pop(rbx); a.iretq(); });
        var ends = 0;
        guest.Bus.EndOfInterruptListener = _ =>
        {
            if (++ends < 3) guest.Partition.SignalMsi(Message(0xC051));
        };
        guest.OnSignal = _ => guest.Partition.SignalMsi(Message(0xC051));
        guest.RunToEnd();
        Assert.Equal(3, ends);
    }

    [Fact]
    public void ExternalPin_IsAcknowledgedOnce()
    {
        var guest = Spinning(g => g.Vcpu.SetExternalInterrupt(true));
        var acknowledged = Acknowledge(guest, 0x31);
        guest.RunToTrap(0x31);
        Assert.Equal(1, acknowledged());
    }

    [Fact]
    public void ExternalPin_InterruptsOff_WaitsForSti()
    {
        var guest = Guest(64, a => { a.Signal(); a.mov(__byte_ptr[Flag], 1); a.sti(); a.Spin(); });
        Acknowledge(guest, 0x31);
        guest.OnSignal = _ => guest.Vcpu.SetExternalInterrupt(true);
        guest.RunToTrap(0x31);
        Assert.Equal(1, guest.Read<byte>(Flag));
    }

    [Fact]
    public void ExternalPin_ReleasedBeforeItWasTaken_IsGone()
    {
        var guest = Guest(64, a => { a.Signal(); a.nop(); a.Signal(); a.sti(); a.nop(); a.nop(); });
        var acknowledged = Acknowledge(guest, 0x31);
        var level = false;
        guest.OnSignal = _ => guest.Vcpu.SetExternalInterrupt(level = !level);
        guest.RunToEnd();
        Assert.Equal(0, acknowledged());
    }

    [Fact]
    public void ExternalPin_Masked_IsNotTaken()
    {
        // LINT0 masked: the 8259 is cut off, as Linux does it once the IOAPIC works.
        var guest = Guest(64, a => { a.ApicEnable(); a.ApicWrite(0x350, 0x10700); a.sti(); a.Signal(); a.nop(); a.nop(); });
        var acknowledged = Acknowledge(guest, 0x31);
        guest.OnSignal = _ => guest.Vcpu.SetExternalInterrupt(true);
        guest.RunToEnd();
        Assert.Equal(0, acknowledged());
    }

    [Fact]
    public void ExternalPin_RealMode_GoesThroughTheVectorTable()
    {
        var guest = Guest(16, a => { a.sti(); a.Signal(); a.Spin(); });
        Acknowledge(guest, 0x31);
        guest.OnSignal = _ => guest.Vcpu.SetExternalInterrupt(true);
        guest.RunToTrap(0x31);
    }

    [Fact]
    public void SelfIpi_ByTheCommandRegister_IsTaken()
    {
        Need(HypervisorCapabilities.LocalApic);
        var guest = Guest(64, a => { a.ApicEnable(); a.sti(); a.ApicWrite(0x300, 0x40052); a.Spin(); });
        guest.RunToTrap(0x52);
    }

    [Fact]
    public void SelfIpi_X2Apic_IsTaken()
    {
        Need(HypervisorCapabilities.LocalApic);
        var guest = Guest(64, a => { a.WriteMsr(0x1B, 0xFEE00D00); a.WriteMsr(0x80F, 0x1FF); a.sti(); a.WriteMsr(0x83F, 0x53); a.Spin(); });
        guest.RunToTrap(0x53);
    }

    [Fact]
    public void ApicTimer_OneShot_FiresOnce()
    {
        Need(HypervisorCapabilities.LocalApic);
        var guest = Guest(64, a => { a.ApicEnable(); a.ApicWrite(0x3E0, 0xB); a.ApicWrite(0x320, 0x54); a.sti(); a.ApicWrite(0x380, 10_000); a.Spin(); });
        guest.RunToTrap(0x54);
    }

    [Fact]
    public void ApicTimer_Periodic_FiresAgainAndAgain()
    {
        Need(HypervisorCapabilities.LocalApic);
        var guest = Guest(64, a =>
        {
            var loop = a.CreateLabel();
            a.ApicEnable();
            a.ApicWrite(0x3E0, 0xB);
            a.ApicWrite(0x320, 0x20054);
            a.sti();
            a.ApicWrite(0x380, 200_000);
            a.Label(ref loop);
            a.cmp(__byte_ptr[Flag], 4);
            a.jb(loop);
            a.cli();
        });
        guest.Handle(0x54, a => { a.push(rbx); a.inc(__byte_ptr[Flag]); a.ApicEoi(); a.pop(rbx); a.iretq(); });
        guest.RunToEnd();
    }

    [Fact]
    public void ApicTimer_TscDeadline_Fires()
    {
        Need(HypervisorCapabilities.LocalApic);
        var guest = Guest(64, a =>
        {
            a.ApicEnable();
            a.ApicWrite(0x320, 0x40055);
            a.sti();
            a.rdtsc();
            a.add(eax, 100_000);
            a.adc(edx, 0);
            a.mov(ecx, 0x6E0);
            a.wrmsr();
            a.Spin();
        });
        guest.RunToTrap(0x55);
    }

    [Fact]
    public void ApicTimer_Masked_DoesNotFire()
    {
        Need(HypervisorCapabilities.LocalApic);
        // The count runs down to zero all the same; a second timer would be needed to see it fire too late.
        var guest = Guest(64, a =>
        {
            var loop = a.CreateLabel();
            a.ApicEnable();
            a.ApicWrite(0x3E0, 0xB);
            a.ApicWrite(0x320, 0x10054);
            a.sti();
            a.ApicWrite(0x380, 10_000);
            a.Label(ref loop);
            a.ApicRead(0x390);
            a.test(eax, eax);
            a.jne(loop);
            a.nop();
        });
        guest.RunToEnd();
    }

    [Fact]
    public void InterruptsOff_WaitForSti_AndOneInstructionMore()
    {
        var guest = Guest(64, a => { a.ApicEnable(); a.Signal(); a.mov(__byte_ptr[Flag], 1); a.sti(); a.mov(__byte_ptr[Flag], 2); a.mov(__byte_ptr[Flag], 3); a.Spin(); });
        guest.OnSignal = _ => guest.Partition.SignalMsi(Message(0x51));
        guest.RunToTrap(0x51);
        Assert.InRange(guest.Read<byte>(Flag), 2, 3);
    }

    [Fact]
    public void TaskPriority_HoldsBackLowerOnes()
    {
        Need(HypervisorCapabilities.LocalApic);
        var guest = Guest(64, a => { a.ApicEnable(); a.mov(eax, 6); a.mov(cr8, rax); a.sti(); a.Signal(); a.mov(__byte_ptr[Flag], 1); a.mov(eax, 4); a.mov(cr8, rax); a.Spin(); });
        guest.OnSignal = _ => guest.Partition.SignalMsi(Message(0x51));
        guest.RunToTrap(0x51);
        Assert.Equal(1, guest.Read<byte>(Flag));
    }

    [Fact]
    public void TaskPriority_ByTheApicsPage_IsCr8()
    {
        Need(HypervisorCapabilities.LocalApic);
        var guest = Guest(64, a => { a.ApicEnable(); a.ApicWrite(0x80, 0x70); a.mov(rcx, cr8); a.mov(eax, 3); a.mov(cr8, rax); a.ApicRead(0x80); });
        guest.RunToEnd();
        Assert.Equal((7UL, 0x30UL, 3UL), (guest[1], guest[0], guest.State.Cr8));
    }

    [Fact]
    public void TwoPending_TheHigherComesFirst()
    {
        var guest = Guest(64, a => { a.ApicEnable(); a.Signal(); a.sti(); a.Spin(); });
        guest.OnSignal = _ =>
        {
            guest.Partition.SignalMsi(Message(0x51));
            guest.Partition.SignalMsi(Message(0x81));
        };
        guest.RunToTrap(0x81);
    }

    [Fact]
    public void InService_HoldsBackItsOwnClassUntilItsEnd()
    {
        Need(HypervisorCapabilities.LocalApic);
        // The handler of 0x51 raises 0x52, which waits for its end of interrupt, and 0x61, which does not.
        var guest = Guest(64, a => { a.ApicEnable(); a.sti(); a.ApicWrite(0x300, 0x40051); a.Spin(); });
        guest.Handle(0x51, a =>
        {
            a.sti();
            a.ApicWrite(0x300, 0x40052);
            a.nop();
            a.mov(__byte_ptr[Flag], 1);
            a.ApicWrite(0x300, 0x40061);
            a.nop();
            a.ApicEoi();
            a.Spin();
        });
        guest.Handle(0x61, a => { a.push(rbx); a.add(__byte_ptr[Flag], 2); a.ApicEoi(); a.pop(rbx); a.iretq(); });
        guest.RunToTrap(0x52);
        Assert.Equal(3, guest.Read<byte>(Flag));
    }

    [Fact]
    public void UserMode_InterruptSwitchesToTheKernelsStack()
    {
        var guest = Guest(64, a => { a.Signal(); a.Spin(); }, user: true);
        guest.State.Rflags |= 0x200;
        Acknowledge(guest, 0x31);
        guest.OnSignal = _ => guest.Vcpu.SetExternalInterrupt(true);
        guest.RunToTrap(0x31);
        Assert.Equal((GuestTables.UserCode64, GuestTables.UserStack, GuestTables.UserData), (guest.Frame(1), guest.Frame(3), guest.Frame(4)));
        Assert.Equal(GuestTables.InnerStack - 48, guest[4]);
    }

    [Fact]
    public void Storm_EveryInterruptIsCounted()
    {
        // The host sends the next one only when the handler has seen the last: none may get lost, however the guest waits.
        var guest = Guest(64, a =>
        {
            var loop = a.CreateLabel();
            a.ApicEnable();
            a.Label(ref loop);
            a.cli();
            a.cmp(__dword_ptr[Flag], 500);
            var done = a.CreateLabel();
            a.jae(done);
            a.Signal();
            a.sti();
            a.hlt();
            a.jmp(loop);
            a.Label(ref done);
        });
        guest.Handle(0x51, a => { a.push(rbx); a.inc(__dword_ptr[Flag]); a.ApicEoi(); a.pop(rbx); a.iretq(); });
        guest.OnSignal = _ => ThreadPool.UnsafeQueueUserWorkItem(_ => guest.Partition.SignalMsi(Message(0x51)), null);
        guest.RunToEnd();
        Assert.Equal(500u, guest.Read<uint>(Flag));
    }

    private static MsiMessage Message(uint data) => new(0xFEE00000, data);

    private TestGuest Spinning(Action<TestGuest>? signalled)
    {
        var guest = Guest(64, a => { a.ApicEnable(); a.sti(); a.Signal(); a.Spin(); });
        guest.OnSignal = _ => signalled?.Invoke(guest);
        return guest;
    }

    // An 8259 that has one interrupt to give.
    private static Func<int> Acknowledge(TestGuest guest, byte vector)
    {
        var count = 0;
        guest.Bus.ExternalInterruptController = () =>
        {
            count++;
            guest.Vcpu.SetExternalInterrupt(false);
            return vector;
        };
        return () => count;
    }
}
