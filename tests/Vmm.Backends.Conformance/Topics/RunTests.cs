using Iced.Intel;
using Vmm.Backends.Conformance.Guests;
using Vmm.Core.Backends;
using Vmm.Core.X86;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Conformance.Topics;

/// <summary>Run and kick: cancellation, shutdown, reset, and no allocation.</summary>
public abstract class RunTests<TBackend> : Conformance<TBackend> where TBackend : BackendUnderTest, new()
{
    private const ulong Counter = GuestTables.Data;

    [Fact]
    public void Kick_BeforeTheRun_EndsItAtOnce()
    {
        var guest = Counting();
        guest.Vcpu.SetState(guest.State);
        guest.Vcpu.Kick();
        Assert.Equal(VcpuStopKind.Kicked, guest.Vcpu.Run().Kind);
        Assert.InRange(guest.Read<uint>(Counter), 0u, 1u);
    }

    [Fact]
    public void Kick_OnceServed_IsGone()
    {
        var guest = Counting();
        guest.Vcpu.SetState(guest.State);
        guest.Vcpu.Kick();
        guest.Vcpu.Kick();
        guest.Vcpu.Kick();
        Assert.Equal(VcpuStopKind.Kicked, guest.Vcpu.Run().Kind);
        guest.State.Gpr[1] = 1;
        guest.Vcpu.SetState(guest.State);
        Assert.Equal(EndKind.Exit, guest.Continue().Kind);
    }

    [Fact]
    public void Kick_ALoopThatNeverEnds_ComesOut()
    {
        var guest = Guest(64, a => { a.cli(); a.Spin(); });
        guest.Vcpu.SetState(guest.State);
        using var timer = new Timer(_ => guest.Vcpu.Kick(), null, 5, Timeout.Infinite);
        Assert.Equal(VcpuStopKind.Kicked, guest.Vcpu.Run().Kind);
        guest.Vcpu.GetState(guest.State);
        Assert.InRange(guest.State.Rip, GuestTables.Program, GuestTables.Program + 3);
    }

    [Fact]
    public void Kick_UserMode_ComesOut()
    {
        var guest = Guest(64, a => a.Spin(), user: true);
        guest.Vcpu.SetState(guest.State);
        using var timer = new Timer(_ => guest.Vcpu.Kick(), null, 5, Timeout.Infinite);
        Assert.Equal(VcpuStopKind.Kicked, guest.Vcpu.Run().Kind);
    }

    [Fact]
    public void Kicks_EachFollowedByAReturn_AreNeverLost()
    {
        var guest = Guest(64, a => { a.cli(); a.Spin(); });
        guest.Vcpu.SetState(guest.State);
        var returns = 0;
        const int Rounds = 300;
        var running = new Background<int>(() =>
        {
            while (Volatile.Read(ref returns) < Rounds)
            {
                Assert.Equal(VcpuStopKind.Kicked, guest.Vcpu.Run().Kind);
                Interlocked.Increment(ref returns);
            }

            return returns;
        });
        for (var round = 1; round <= Rounds; round++)
        {
            guest.Vcpu.Kick();
            Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref returns) >= round, TestGuest.Patience), $"kick {round} was lost");
        }

        Assert.Equal(Rounds, running.Result);
    }

    [Fact]
    public void Kick_WithinAnExit_EndsTheRunBehindTheInstruction()
    {
        var guest = Guest(64, (a, at) => { a.mov(eax, 5); a.Signal(); at("behind"); a.Spin(); });
        guest.OnSignal = _ => guest.Vcpu.Kick();
        guest.Vcpu.SetState(guest.State);
        Assert.Equal(VcpuStopKind.Kicked, guest.Vcpu.Run().Kind);
        guest.Vcpu.GetState(guest.State);
        Assert.InRange(guest.State.Rip, guest["behind"], guest["behind"] + 3);
    }

    [Fact]
    public void Kick_WithinARead_TheReadIsDoneOnce()
    {
        // The value that the device gave must be in the register when the run has ended.
        var guest = Guest(64, a => { a.mov(edx, 0x500); a.@in(eax, dx); a.Spin(); });
        var device = guest.Ports(0x500, 4);
        var kicking = new KickingDevice(guest.Vcpu);
        guest.Bus.Ports.Unmap(0x500);
        guest.Bus.Ports.Map(0x500, 4, kicking);
        guest.Vcpu.SetState(guest.State);
        Assert.Equal(VcpuStopKind.Kicked, guest.Vcpu.Run().Kind);
        guest.Vcpu.GetState(guest.State);
        Assert.Equal((0x1234_5678UL, 1), (guest[0], kicking.Reads));
        Assert.Empty(device.Accesses);
    }

    [Fact]
    public void Kicked_IsCalledAtEveryKick()
    {
        var calls = 0;
        var guest = Counting();
        using var partition = Backend.Create().CreatePartition(new PartitionOptions { Bus = guest.Bus, Clock = guest.Clock, CpuModel = Backend.Model, Kicked = i => calls += i + 1 });
        partition.Vcpus[0].Kick();
        partition.Vcpus[0].Kick();
        Assert.Equal(2, calls);
    }

    [Fact]
    public void Counters_CountExits()
    {
        var guest = Guest(64, a => { a.@in(al, 0x70); a.@out(0x71, al); a.mov(eax, __dword_ptr[rsi]); a.mov(__dword_ptr[rsi], eax); });
        guest[6] = 0xC000_0000;
        guest.RunToEnd();
        var counters = guest.Vcpu.Counters;
        // The exit port is a write as well.
        Assert.Equal((1L, 2L, 1L, 1L), (counters.PortReads, counters.PortWrites, counters.MmioReads, counters.MmioWrites));
        Assert.Equal(1L, counters.Kicks);
    }

    [Fact]
    public void InstructionsRetired_AreExact()
    {
        Need(HypervisorCapabilities.InstructionCount);
        var guest = Guest(64, a => { a.Signal(); a.nop(); a.nop(); a.nop(); a.Signal(); });
        List<ulong> seen = [];
        guest.OnSignal = _ => seen.Add(guest.Vcpu.InstructionsRetired);
        guest.RunToEnd();
        Assert.True(guest.Vcpu.InstructionsRetired >= 6);
        Assert.Equal(2, seen.Count);
    }

    [Theory, InlineData(16), InlineData(32), InlineData(64)]
    public void TripleFault_IsAShutdown(int bitness)
    {
        // An emulator of real mode may heed no limit of its table.
        if (bitness == 16) Need(HypervisorCapabilities.FullSystem);
        var guest = Guest(bitness, a => a.ud2());
        guest.State.Idt = new DescriptorTable(0, 0);
        Assert.Equal(EndKind.Shutdown, guest.Run().Kind);
    }

    [Fact]
    public void Shutdown_ThenANewState_RunsAgain()
    {
        var guest = Guest(64, a => a.ud2());
        var idt = guest.State.Idt;
        guest.State.Idt = new DescriptorTable(0, 0);
        Assert.Equal(EndKind.Shutdown, guest.Run().Kind);
        guest.Place(GuestTables.Program, a => a.mov(ecx, 3));
        guest.State.Idt = idt;
        guest.GoTo(GuestTables.Program).RunToEnd();
        Assert.Equal(3UL, guest[1]);
    }

    [Fact]
    public void PowerOn_StartsAtTheResetVector()
    {
        var guest = Guest(16, a => a.nop());
        var rom = Dispose(Vmm.Core.Memory.MemoryRegion.Allocate("rom", 0xFFFF_0000, 0x10000, Vmm.Core.Memory.MemoryRegionKind.Rom));
        // mov al, 0x5A; out 0xE0, al; jmp to itself
        rom.Write(0xFFF0, [0xB0, 0x5A, 0xE6, TestGuest.ExitPort, 0xEB, 0xFE]);
        guest.Memory.Add(rom);
        guest.State.SetPowerOn();
        guest.ShouldEnd(new GuestEnd(EndKind.Exit, 0x5A), guest.Run());
        Assert.Equal(0xF000, guest.State.Segments[1].Selector);
        guest.Memory.Remove(rom);
    }

    [Fact]
    public void Reset_AfterLongMode_IsAProcessorAfterPowerOn()
    {
        var guest = Guest(64, a => { a.ApicEnable(); a.ApicWrite(0x80, 0x50); a.mov(cr2, rax); a.WriteMsr(0xC0000082, 0x1234); });
        guest.RunToEnd();
        guest.State.SetPowerOn();
        guest.Vcpu.SetState(guest.State);
        var (state, fresh) = (new VcpuState(), new VcpuState());
        guest.Vcpu.GetState(state);
        Assert.Equal(fresh.Gpr, state.Gpr);
        Assert.Equal((fresh.Rip, fresh.Rflags, fresh.Cr0, fresh.Cr4, fresh.Efer, fresh.Cr8), (state.Rip, state.Rflags, state.Cr0, state.Cr4, state.Efer, state.Cr8));
        Assert.Equal(0xFFu, BitConverter.ToUInt32(state.Apic, 0xF0));
        Assert.DoesNotContain(state.Msrs, m => m is { Index: 0xC0000082, Value: not 0 });
    }

    [Fact]
    public void PortExits_AllocateNothing()
    {
        var guest = Guest(64, a => Repeat(a, () => { a.@in(al, dx); a.@out(dx, al); }));
        guest.Bus.Ports.Map(0x500, 4, new SilentDevice());
        guest[2] = 0x500;
        Assert.Equal(0, AllocatedBy(guest));
    }

    [Fact]
    public void MmioExits_AllocateNothing()
    {
        var guest = Guest(64, a => Repeat(a, () => { a.mov(eax, __dword_ptr[rsi]); a.mov(__dword_ptr[rsi + 4], eax); }));
        guest.Bus.Mmio.Map(0xD000_0000, 0x1000, new SilentDevice());
        guest[6] = 0xD000_0000;
        Assert.Equal(0, AllocatedBy(guest));
    }

    [Fact]
    public void StringExits_AllocateNothing()
    {
        var guest = Guest(64, a => Repeat(a, () => { a.mov(rbx, rcx); a.mov(ecx, 16); a.lea(rdi, __[rsi + 0x100]); a.rep.insb(); a.mov(rcx, rbx); }));
        guest.Bus.Ports.Map(0x500, 4, new SilentDevice());
        (guest[2], guest[6]) = (0x500, GuestTables.Data);
        Assert.Equal(0, AllocatedBy(guest));
    }

    [Fact]
    public void Interrupts_AllocateNothing()
    {
        Need(HypervisorCapabilities.LocalApic);
        var guest = Guest(64, a => { a.ApicEnable(); a.sti(); Repeat(a, () => a.ApicWrite(0x300, 0x40051)); a.cli(); });
        guest.Handle(0x51, a => { a.push(rbx); a.ApicEoi(); a.pop(rbx); a.iretq(); });
        Assert.Equal(0, AllocatedBy(guest));
    }

    [Fact]
    public void Partitions_MadeAndDisposed_ManyTimes()
    {
        for (var i = 0; i < 30; i++)
        {
            using var guest = Guest(64, a => a.mov(ecx, 1), vcpus: 1 + i % 3);
            guest.RunToEnd();
        }
    }

    [Fact]
    public void TwoMachines_DoNotSeeEachOther()
    {
        var (first, second) = (Counting(), Counting());
        (first[1], second[1]) = (10, 20);
        var (one, other) = (first.Start(), second.Start());
        Assert.Equal((EndKind.Exit, EndKind.Exit), (one.Result.Kind, other.Result.Kind));
        Assert.Equal((10u, 20u), (first.Read<uint>(Counter), second.Read<uint>(Counter)));
    }

    private TestGuest Counting()
    {
        var guest = Guest(64, a => Repeat(a, () => a.inc(__dword_ptr[Counter])));
        guest[1] = 1000;
        return guest;
    }

    private static void Repeat(Assembler a, Action body)
    {
        var loop = a.CreateLabel();
        a.Label(ref loop);
        body();
        a.dec(ecx);
        a.jne(loop);
    }

    // By Run alone: the second time, when all code has been compiled and all buffers are there.
    private static long AllocatedBy(TestGuest guest)
    {
        long Once(uint count)
        {
            guest.State.Gpr[1] = count;
            guest.GoTo(GuestTables.Program);
            guest.Vcpu.SetState(guest.State);
            using var watchdog = new Timer(_ => guest.Vcpu.Kick(), null, TestGuest.Patience, Timeout.InfiniteTimeSpan);
            return guest.Measure();
        }

        Once(200);
        Once(200);
        return Once(5000);
    }

    private sealed class SilentDevice : Vmm.Core.Buses.IIoHandler
    {
        public ulong Read(uint offset, int size) => 0;

        public void Write(uint offset, int size, ulong value) { }
    }

    private sealed class KickingDevice(IVcpu vcpu) : Vmm.Core.Buses.IIoHandler
    {
        public int Reads;

        public ulong Read(uint offset, int size)
        {
            Reads++;
            vcpu.Kick();
            return 0x1234_5678;
        }

        public void Write(uint offset, int size, ulong value) { }
    }
}
