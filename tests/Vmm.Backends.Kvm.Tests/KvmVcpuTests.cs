using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Errors;
using Vmm.Core.Memory;
using Vmm.Core.X86;

namespace Vmm.Backends.Kvm.Tests;

/// <summary>A real KVM: exits, kicks, interrupts, state, memory.</summary>
public class KvmVcpuTests
{
    public KvmVcpuTests() => KvmRequirement.Usable();

    // mov al, imm; out 0xF4, al
    private static byte[] ThenDone(params byte[] code) => [.. code, 0xE6, (byte)Rig.DonePort, 0xEB, 0xFE];

    [Fact]
    public void PortsOfEachSize_ReachTheirHandler()
    {
        List<(int, ulong)> written = [];
        using var rig = new Rig(ThenDone(0xBA, 0x00, 0x05, 0x66, 0xB8, 0x78, 0x56, 0x34, 0x12, 0xEE, 0xEF, 0x66, 0xEF, 0x66, 0xED, 0x66, 0xA3, 0x00, 0x20));
        rig.Bus.Ports.Map(0x500, 4, new Rig.Port { Written = (size, value) => written.Add((size, value)), Asked = _ => 0xCAFEBABE });
        Assert.Equal(VcpuStopKind.Kicked, rig.Vcpu.Run().Kind);
        Assert.Equal([(1, 0x78UL), (2, 0x5678UL), (4, 0x12345678UL)], written);
        Assert.True(rig.Bus.Memory.TryRead(0x2000, out uint read));
        Assert.Equal(0xCAFEBABE, read);
    }

    [Fact]
    public void StringOutput_ArrivesElementByElement()
    {
        List<ulong> written = [];
        using var rig = new Rig(ThenDone(0xBA, 0x00, 0x05, 0xBE, 0x00, 0x20, 0xB9, 0x05, 0x00, 0xFC, 0xF3, 0x6E));
        rig.Bus.Ports.Map(0x500, 1, new Rig.Port { Written = (_, value) => written.Add(value) });
        rig.Bus.Memory.TryWrite(0x2000, "Hello"u8);
        Assert.Equal(VcpuStopKind.Kicked, rig.Vcpu.Run().Kind);
        Assert.Equal("Hello", string.Concat(written.Select(w => (char)w)));
    }

    [Fact]
    public void MmioAndRom_ReachTheBus()
    {
        List<ulong> written = [];
        using var rig = new Rig(ThenDone(0xB8, 0x00, 0xC0, 0x8E, 0xD8, 0xC7, 0x06, 0x04, 0x00, 0x34, 0x12, 0xB8, 0x00, 0xD0, 0x8E, 0xD8, 0xC6, 0x06, 0x00, 0x00, 0x55, 0xA0, 0x00, 0x00));
        rig.Bus.Memory.Remove(rig.Ram);
        using var low = MemoryRegion.FromHost("low", 0, 0xC0000, rig.Ram.HostAddress);
        using var rom = MemoryRegion.FromHost("rom", 0xD0000, 0x1000, rig.Ram.HostAddress + 0xD0000, MemoryRegionKind.Rom);
        rig.Bus.Memory.Add(low);
        rig.Bus.Memory.Add(rom);
        rig.Bus.Mmio.Map(0xC0000, 0x1000, new Rig.Port { Written = (_, value) => written.Add(value) });
        Assert.Equal(VcpuStopKind.Kicked, rig.Vcpu.Run().Kind);
        Assert.Equal([0x1234UL], written);
        Assert.Equal(0UL, rig.State().Gpr[0] & 0xFF);
        Assert.Equal(1, rig.Bus.Mmio.Unclaimed);
    }

    [Fact]
    public void TripleFault_IsShutdown_AndStays()
    {
        // In protected mode: some emulators heed no limit of real mode's table.
        using var rig = new Rig([0x0F, 0x0B]); // UD2
        var state = Rig.ProtectedMode();
        state.Idt = new DescriptorTable(0, 0);
        rig.Vcpu.SetState(state);
        Assert.Equal(VcpuStopKind.Shutdown, rig.Vcpu.Run().Kind);
        Assert.Equal(VcpuStopKind.Shutdown, rig.Vcpu.Run().Kind);
    }

    [Fact]
    public async Task Kick_WhileHalted_EndsTheRun()
    {
        using var rig = new Rig([0xF4, 0xEB, 0xFD]);
        var run = Task.Run(rig.Vcpu.Run);
        rig.Vcpu.Kick();
        Assert.Equal(VcpuStopKind.Kicked, (await run).Kind);
    }

    [Fact]
    public async Task Kicks_OfABusyGuest_AreNeverLost()
    {
        using var rig = new Rig([0xEB, 0xFE]);
        for (var i = 0; i < 200; i++)
        {
            var run = Task.Run(rig.Vcpu.Run);
            rig.Vcpu.Kick();
            Assert.Equal(VcpuStopKind.Kicked, (await run).Kind);
        }
    }

    [Theory]
    [InlineData(KvmIrqchip.Split)]
    [InlineData(KvmIrqchip.None)]
    public void ExternalInterrupt_IsAcknowledgedAndDelivered(KvmIrqchip irqchip)
    {
        using var rig = new Rig([0xFB, 0xEB, 0xFE], new KvmOptions { Irqchip = irqchip }); // STI; loop
        rig.Bus.Memory.TryWrite<uint>(0x21 * 4, 0x1800);
        rig.Bus.Memory.TryWrite(0x1800, (ReadOnlySpan<byte>)[0xE6, (byte)Rig.DonePort, 0xEB, 0xFE]);
        rig.Bus.ExternalInterruptController = () =>
        {
            rig.Vcpu.SetExternalInterrupt(false);
            return 0x21;
        };
        rig.Vcpu.SetExternalInterrupt(true);
        Assert.Equal(VcpuStopKind.Kicked, rig.Vcpu.Run().Kind);
        Assert.InRange(rig.State().Rip, 0x1800UL, 0x1804UL);
    }

    [Fact]
    public void LevelInterruptInServiceOfALoadedState_ItsEndIsTold()
    {
        // mov dword [0xFEE000B0], 0: end of interrupt
        using var rig = new Rig(ThenDone(0xC7, 0x05, 0xB0, 0x00, 0xE0, 0xFE, 0, 0, 0, 0));
        var state = Rig.ProtectedMode();
        (state.Apic[0x30], state.Apic[0x32], state.Apic[0xF0], state.Apic[0xF1]) = (0x14, 5, 0xFF, 1);
        // Vector 0x51 is bit 17 of the third word, in service and level-triggered.
        (state.Apic[0x122], state.Apic[0x1A2]) = (2, 2);
        List<byte> ends = [];
        rig.Bus.EndOfInterruptListener = ends.Add;
        rig.Vcpu.SetState(state);
        Assert.Equal(VcpuStopKind.Kicked, rig.Vcpu.Run().Kind);
        Assert.Equal([0x51], ends);
    }

    [Fact]
    public void Nmi_IsDelivered()
    {
        using var rig = new Rig([0xF4, 0xEB, 0xFD]);
        rig.Bus.Memory.TryWrite<uint>(2 * 4, 0x1800);
        rig.Bus.Memory.TryWrite(0x1800, (ReadOnlySpan<byte>)[0xE6, (byte)Rig.DonePort, 0xEB, 0xFE]);
        rig.Vcpu.InjectNmi();
        Assert.Equal(VcpuStopKind.Kicked, rig.Vcpu.Run().Kind);
        Assert.True(rig.State().NmiBlocked);
    }

    [Fact]
    public void Halt_WithoutApic_Returns()
    {
        using var rig = new Rig([0xF4], new KvmOptions { Irqchip = KvmIrqchip.None });
        Assert.Equal(VcpuStopKind.Halted, rig.Vcpu.Run().Kind);
    }

    [Fact]
    public void State_RoundTrips()
    {
        using var rig = new Rig([0xF4]);
        var state = Rig.RealMode();
        for (var i = 0; i < 16; i++) state.Gpr[i] = 0x1111111111111111UL * (uint)i;
        (state.Cr2, state.Debug[0], state.NmiBlocked) = (0x1234, 0x5678, true);
        (state.InjectedVector, state.InjectedType) = (0x20, 0);
        state.Xsave[160] = 0x5A; // XMM0
        rig.Vcpu.SetState(state);
        var read = rig.State();
        Assert.Equal(state.Gpr, read.Gpr);
        Assert.Equal((state.Rip, state.Cr2, state.Debug[0], true), (read.Rip, read.Cr2, read.Debug[0], read.NmiBlocked));
        Assert.Equal(((short)0x20, (byte)0), (read.InjectedVector, read.InjectedType));
        Assert.Equal(0x5A, read.Xsave[160]);
        Assert.Equal(state.Segments, read.Segments);
    }

    [Fact]
    public void SetState_ThatNoProcessorHolds_IsRefused()
    {
        using var rig = new Rig([0xF4]);
        var state = Rig.RealMode();
        state.Cr0 = 1UL << 31;
        Assert.Throws<ArgumentException>(() => rig.Vcpu.SetState(state));
        Assert.Equal(0x1000UL, rig.State().Rip);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(4096)]
    public void DirtyLog_NamesPagesOfGuestAndHost(int ring)
    {
        using var rig = new Rig(ThenDone(0xC6, 0x06, 0x00, 0x50, 0x01), new KvmOptions { DirtyRingEntries = ring });
        rig.Partition.SetDirtyLog(rig.Ram, true);
        rig.Bus.Memory.TryWrite<byte>(0x7000, 1);
        Assert.Equal(VcpuStopKind.Kicked, rig.Vcpu.Run().Kind);
        var pages = new ulong[4];
        rig.Partition.CollectDirty(rig.Ram, pages);
        Assert.Equal(1UL << 5 | 1UL << 7, pages[0] & (1UL << 5 | 1UL << 6 | 1UL << 7));
        Array.Clear(pages);
        rig.Partition.CollectDirty(rig.Ram, pages);
        Assert.Equal([0, 0, 0, 0], pages);
    }

    [Fact]
    public void Doorbell_RingsBeforeTheRunReturns()
    {
        var rung = 0;
        using var rig = new Rig(ThenDone(0xBA, 0x00, 0x05, 0xB8, 0x07, 0x00, 0xEF));
        rig.Bus.AddDoorbell(new Doorbell(rig.Bus.Ports, 0x500, 2, 7, () => Interlocked.Increment(ref rung)));
        Assert.Equal(VcpuStopKind.Kicked, rig.Vcpu.Run().Kind);
        Assert.True(Volatile.Read(ref rung) >= 1);
        Assert.Equal(1, rig.Vcpu.Counters.PortWrites);
    }

    [Fact]
    public void CoalescedWrites_ArriveInOrderBeforeTheNextExit()
    {
        List<ulong> written = [];
        using var rig = new Rig(ThenDone(0xBA, 0x00, 0x05, 0xB0, 0x01, 0xEE, 0xFE, 0xC0, 0xEE, 0xFE, 0xC0, 0xEE));
        rig.Bus.Ports.Map(0x500, 1, new Rig.Port { Written = (_, value) => written.Add(value) });
        Assert.SkipUnless(rig.Partition.AddCoalescedWrites(rig.Bus.Ports, 0x500, 1), "this KVM does not collect port writes");
        Assert.Equal(VcpuStopKind.Kicked, rig.Vcpu.Run().Kind);
        Assert.Equal([1UL, 2UL, 3UL], written);
        Assert.Equal(1, rig.Vcpu.Counters.PortWrites);
    }

    [Fact]
    public void SingleStepAndBreakpoints_Stop()
    {
        using var rig = new Rig(ThenDone(0x90, 0x90, 0x90, 0x90, 0xCC));
        Assert.SkipUnless(rig.Partition.Capabilities.HasFlag(HypervisorCapabilities.SingleStep), "this KVM has no guest debugging");
        KvmRequirement.FullSystem();
        rig.Vcpu.SetDebug(new GuestDebug { SingleStep = true });
        Assert.Equal(new DebugStop(DebugCause.SingleStep, 0x1001), rig.Vcpu.Run().Debug);
        rig.Vcpu.SetDebug(new GuestDebug { Breakpoints = [new HardwareBreakpoint(0x1003)], SoftwareBreakpoints = true });
        Assert.Equal(new DebugStop(DebugCause.HardwareBreakpoint, 0x1003, 0), rig.Vcpu.Run().Debug);
        rig.Vcpu.SetDebug(new GuestDebug { SoftwareBreakpoints = true });
        Assert.Equal(new DebugStop(DebugCause.SoftwareBreakpoint, 0x1004), rig.Vcpu.Run().Debug);
    }

    [Fact]
    public void Exits_DoNotAllocate()
    {
        var left = 20_000;
        using var rig = new Rig([0xE6, 0x80, 0xEB, 0xFC]);
        rig.Bus.Ports.Map(0x80, 1, new Rig.Port { Written = (_, _) => { if (--left == 0) rig.Vcpu.Kick(); } });
        rig.Vcpu.Kick();
        rig.Vcpu.Run();
        var before = GC.GetAllocatedBytesForCurrentThread();
        rig.Vcpu.Run();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.Equal(0, left);
    }

    [Fact]
    public void ManyPartitions_LeaveNothingBehind()
    {
        var count = int.Parse(Environment.GetEnvironmentVariable("VMM_KVM_MACHINES") ?? "20");
        using (new Rig(ThenDone(0x90))) { }
        static (int Files, int Mappings) Count() => (Directory.GetFiles("/proc/self/fd").Length, File.ReadLines("/proc/self/maps").Count(l => l.Contains("kvm", StringComparison.Ordinal)));
        var before = Count();
        var rigs = Enumerable.Range(0, count).Select(_ => new Rig(ThenDone(0x90))).ToList();
        Assert.All(rigs, r => Assert.Equal(VcpuStopKind.Kicked, r.Vcpu.Run().Kind));
        rigs.ForEach(r => r.Dispose());
        Assert.Equal(before, Count());
    }

    [Fact]
    public void RegionTheHostRefuses_IsATypedErrorAndNotThere()
    {
        // The kernel's half of the address space is nobody's to lend.
        using var rig = new Rig([0xF4]);
        using var foreign = MemoryRegion.FromHost("foreign", 1 << 30, 4096, unchecked((nint)0xFFFF_8000_0000_0000));
        Assert.Throws<HypervisorException>(() => rig.Bus.Memory.Add(foreign));
        Assert.Null(rig.Bus.Memory.Find(1 << 30));
    }
}
