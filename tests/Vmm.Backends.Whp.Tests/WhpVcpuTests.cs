using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.X86;

namespace Vmm.Backends.Whp.Tests;

/// <summary>The backend's logic on the simulated platform.</summary>
public class WhpVcpuTests
{
    // mov dx, 0x500; out dx, al
    private static readonly byte[] Exit = [0x66, 0xBA, 0x00, 0x05, 0xEE];

    private static byte[] Program(params byte[] code) => [.. code, .. Exit];

    [Fact]
    public void Ports_OfEachSize_ReachTheBusAndTheRegister()
    {
        // mov edx,0x120; in al,dx; in ax,dx; in eax,dx; out dx,al; out dx,ax; out dx,eax
        using var guest = new WhpGuest(Program(0xBA, 0x20, 0x01, 0, 0, 0xEC, 0x66, 0xED, 0xED, 0xEE, 0x66, 0xEF, 0xEF));

        var state = guest.Run();

        Assert.Equal(["r1@20", "r2@20", "r4@20", "w1@20=88", "w2@20=7788", "w4@20=55667788"], guest.Accesses);
        Assert.Equal(0x55667788UL, state.Gpr[0]);
        Assert.Equal(3, guest.Cpu.Counters.PortReads);
        Assert.Equal(4, guest.Cpu.Counters.PortWrites);
    }

    [Fact]
    public void PortRead_OfAByte_KeepsTheRestOfTheRegister()
    {
        // mov eax,0xAABBCCDD; mov edx,0x100; in al,dx
        using var guest = new WhpGuest(Program(0xB8, 0xDD, 0xCC, 0xBB, 0xAA, 0xBA, 0, 1, 0, 0, 0xEC));

        Assert.Equal(0xAABBCC88UL, guest.Run().Gpr[0]);
    }

    [Fact]
    public void StringPorts_Repeated_MoveEachElement()
    {
        // mov edx,0x110; mov edi,0x2000; mov ecx,3; rep insb; mov esi,0x2000; mov ecx,2; rep outsw
        using var guest = new WhpGuest(Program(0xBA, 0x10, 1, 0, 0, 0xBF, 0, 0x20, 0, 0, 0xB9, 3, 0, 0, 0, 0xF3, 0x6C, 0xBE, 0, 0x20, 0, 0, 0xB9, 2, 0, 0, 0, 0xF3, 0x66, 0x6F));

        var state = guest.Run();

        Assert.Equal(["r1@10", "r1@10", "r1@10", "w2@10=8888", "w2@10=88"], guest.Accesses);
        Assert.Equal((0UL, 0x2004UL, 0x2003UL), (state.Gpr[1], state.Gpr[6], state.Gpr[7]));
    }

    [Fact]
    public void Mmio_LoadsStoresAndArithmetic_AreEmulated()
    {
        // mov eax,[0xE0000010]; mov [0xE0000020],eax; mov byte [0xE0000030],0x5A; or dword [0xE0000040],1
        using var guest = new WhpGuest(Program(0xA1, 0x10, 0, 0, 0xE0, 0xA3, 0x20, 0, 0, 0xE0, 0xC6, 0x05, 0x30, 0, 0, 0xE0, 0x5A, 0x83, 0x0D, 0x40, 0, 0, 0xE0, 1));

        var state = guest.Run();

        Assert.Equal(["r4@10", "w4@20=55667788", "w1@30=5a", "r4@40", "w4@40=55667789"], guest.Accesses);
        Assert.Equal(0x55667788UL, state.Gpr[0]);
    }

    [Fact]
    public void Mmio_StringMoveFromMemory_ReadsMemoryAndWritesTheDevice()
    {
        // mov esi,0x3000; mov edi,0xE0000000; mov ecx,2; rep movsd
        using var guest = new WhpGuest(Program(0xBE, 0, 0x30, 0, 0, 0xBF, 0, 0, 0, 0xE0, 0xB9, 2, 0, 0, 0, 0xF3, 0xA5));
        guest.Ram.Write(0x3000, [1, 0, 0, 0, 2, 0, 0, 0]);

        guest.Run();

        Assert.Equal(["w4@0=1", "w4@4=2"], guest.Accesses);
    }

    [Fact]
    public void UnclaimedMmio_ReadsOnes()
    {
        using var guest = new WhpGuest(Program(0xA1, 0, 0, 0, 0xD0));

        Assert.Equal(0xFFFFFFFFUL, guest.Run().Gpr[0]);
        Assert.Equal(1, guest.Bus.Mmio.Unclaimed);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void DeviceException_PassesThrough_AndTheInstructionIsNotCompleted(bool mmio)
    {
        byte[] code = mmio ? [0x90, 0xA1, 0x10, 0, 0, 0xE0] : [0x90, 0xE5, 0xF0];
        using var guest = new WhpGuest(Program(code)) { Thrown = new InvalidOperationException("broken") };
        if (!mmio) guest.Bus.Ports.Map(0xF0, 4, guest);

        Assert.Equal("broken", Assert.Throws<InvalidOperationException>(() => guest.Cpu.Run()).Message);
        guest.Cpu.GetState(guest.State);
        Assert.Equal(0x1001UL, guest.State.Rip);

        guest.Thrown = null;
        Assert.Equal(0x55667788UL, guest.Run().Gpr[0]);
    }

    [Fact]
    public void Rom_Write_IsDroppedAndCounted()
    {
        using var guest = new WhpGuest(Program(0xC6, 0x05, 0, 0, 0x20, 0, 7, 0xA0, 0, 0, 0x20, 0));
        using var rom = MemoryRegion.Allocate("rom", 0x200000, 0x1000, MemoryRegionKind.Rom);
        rom.Write(0, [0x42]);
        guest.Memory.Add(rom);

        Assert.Equal(0x42UL, guest.Run().Gpr[0] & 0xFF);
        Assert.Equal(1, guest.Bus.Mmio.Unclaimed);
        guest.Memory.Remove(rom);
    }

    [Fact]
    public void RegionRemoved_AddressIsTheBusAgain()
    {
        using var guest = new WhpGuest(Program(0xA1, 0, 0, 0x20, 0));
        using var extra = MemoryRegion.Allocate("extra", 0x200000, 0x1000);
        guest.Memory.Add(extra);
        guest.Memory.Remove(extra);

        Assert.Equal(0xFFFFFFFFUL, guest.Run().Gpr[0]);
    }

    [Fact]
    public void Cpuid_IsTheModels()
    {
        using var guest = new WhpGuest(Program(0xB8, 1, 0, 0, 0, 0x0F, 0xA2, 0x89, 0xCE, 0xB8, 7, 0, 0, 0, 0x31, 0xC9, 0x0F, 0xA2));

        var state = guest.Run();

        var expected = CpuModel.X86_64_V2.GetCpuid(1, 0, 0, 1);
        Assert.Equal(expected.Ecx & ~(1u << 27), (uint)state.Gpr[6]);
        Assert.Equal(CpuModel.X86_64_V2.GetCpuid(7, 0, 0, 1).Ebx, (uint)state.Gpr[3]);
    }

    [Fact]
    public void Msr_HeldByTheBackend_IsReadAndWritten()
    {
        // mov ecx,0x1D9; mov eax,1; xor edx,edx; wrmsr; xor eax,eax; rdmsr
        using var guest = new WhpGuest(Program(0xB9, 0xD9, 1, 0, 0, 0xB8, 1, 0, 0, 0, 0x31, 0xD2, 0x0F, 0x30, 0x31, 0xC0, 0x0F, 0x32));

        var state = guest.Run();

        Assert.Equal(1UL, state.Gpr[0]);
        Assert.Contains(state.Msrs, m => m.Index == 0x1D9 && m.Value == 1);
    }

    [Fact]
    public void Msr_Unknown_IsAGeneralProtectionFault()
    {
        // mov ecx,0x12345; rdmsr: no IDT, so a triple fault follows
        using var guest = new WhpGuest([0xB9, 0x45, 0x23, 1, 0, 0x0F, 0x32]);

        Assert.Equal(VcpuStopKind.Shutdown, guest.Cpu.Run().Kind);
        Assert.Equal(1, guest.Cpu.Counters.UnknownMsrs);
        Assert.Equal(VcpuStopKind.Shutdown, guest.Cpu.Run().Kind);
    }

    [Fact]
    public void SetState_AfterAShutdown_RunsAgain()
    {
        using var guest = new WhpGuest([0x0F, 0x0B]);
        Assert.Equal(VcpuStopKind.Shutdown, guest.Cpu.Run().Kind);
        guest.Ram.Write(0x1000, Exit);

        guest.Cpu.SetState(guest.State);

        guest.Run();
    }

    [Fact]
    public void Kick_BeforeTheRun_IsNotLost()
    {
        using var guest = new WhpGuest([0xEB, 0xFE]);
        guest.Cpu.Kick();

        Assert.Equal(VcpuStopKind.Kicked, guest.Cpu.Run().Kind);
        Assert.Equal(1, guest.Cpu.Counters.Kicks);
    }

    [Fact]
    public async Task Kick_FromAnotherThread_EndsEachRun()
    {
        using var guest = new WhpGuest([0xEB, 0xFE]);
        using var returned = new SemaphoreSlim(0);
        const int count = 2000;
        var runner = Task.Run(() =>
        {
            for (var i = 0; i < count; i++)
            {
                Assert.Equal(VcpuStopKind.Kicked, guest.Cpu.Run().Kind);
                returned.Release();
            }
        });

        for (var i = 0; i < count; i++)
        {
            guest.Cpu.Kick();
            Assert.True(await returned.WaitAsync(TimeSpan.FromMinutes(1)), $"kick {i} was lost");
        }

        await runner;
    }

    [Fact]
    public async Task Kick_WhileTheGuestHalts_EndsTheRun()
    {
        using var guest = new WhpGuest([0xF4]);
        var runner = Task.Run(() => guest.Cpu.Run());
        guest.Cpu.Kick();

        Assert.Equal(VcpuStopKind.Kicked, (await runner.WaitAsync(TimeSpan.FromMinutes(1))).Kind);
    }

    [Fact]
    public void State_RoundTrip_IsTheSame()
    {
        using var guest = new WhpGuest(Exit);
        var before = new VcpuState();
        guest.Cpu.GetState(before);
        for (var i = 0; i < 16; i++) before.Gpr[i] = (ulong)i * 0x0101_0101;
        (before.Rflags, before.Cr2, before.Debug[0], before.Xcr0) = (0x246, 0x12345000, 0x1234, 3);
        before.Xsave[160] = 0x77;
        before.Apic[0x80] = 0x20;
        before.Cr8 = 2;
        before.NmiPending = true;
        before.NmiBlocked = true;
        before.InterruptShadow = 2;
        guest.Cpu.SetState(before);

        var after = new VcpuState();
        guest.Cpu.GetState(after);

        Assert.Equal(before.Gpr, after.Gpr);
        Assert.Equal(before.Segments, after.Segments);
        Assert.Equal((before.Rip, before.Rflags, before.Cr0, before.Cr2, before.Cr3, before.Cr4, before.Cr8, before.Efer, before.Xcr0), (after.Rip, after.Rflags, after.Cr0, after.Cr2, after.Cr3, after.Cr4, after.Cr8, after.Efer, after.Xcr0));
        Assert.Equal(before.Debug, after.Debug);
        Assert.Equal(before.Xsave, after.Xsave);
        Assert.Equal(before.Apic[0x80], after.Apic[0x80]);
        Assert.Equal((true, true, (byte)2, MpState.Runnable), (after.NmiPending, after.NmiBlocked, after.InterruptShadow, after.MpState));
        Assert.Equal(before.Msrs.Select(m => m.Index), after.Msrs.Select(m => m.Index));
    }

    [Fact]
    public void SetState_Impossible_ChangesNothing()
    {
        using var guest = new WhpGuest(Exit);
        var bad = new VcpuState { Cr0 = 1UL << 31 };

        Assert.Throws<ArgumentException>(() => guest.Cpu.SetState(bad));
        guest.Run();
    }

    [Fact]
    public void DirtyLog_ShowsTheGuestsAndTheHostsWrites_Once()
    {
        // mov [0x5000],al
        using var guest = new WhpGuest(Program(0xA2, 0, 0x50, 0, 0));
        guest.Partition.SetDirtyLog(guest.Ram, true);
        guest.Run();
        guest.Memory.TryWrite(0x9000, [1]);
        var pages = new ulong[4];

        guest.Partition.CollectDirty(guest.Ram, pages);

        Assert.Equal(1UL << 5 | 1UL << 9, pages[0]);
        Array.Clear(pages);
        guest.Partition.CollectDirty(guest.Ram, pages);
        Assert.Equal(0UL, pages[0]);
        guest.Partition.SetDirtyLog(guest.Ram, false);
    }

    [Fact]
    public void ExternalInterrupt_WhileHalted_WakesTheGuestAndIsAcknowledged()
    {
        // Real mode: sti; hlt. Vector 0x20's handler ends the run.
        using var guest = new WhpGuest([0xFB, 0xF4, 0xEB, 0xFD], 16);
        guest.Ram.Write(0x20 * 4, [0, 0x20, 0, 0]);
        guest.Ram.Write(0x2000, [0xBA, 0x00, 0x05, 0xEE]);
        guest.Bus.ExternalInterruptController = () =>
        {
            guest.Cpu.SetExternalInterrupt(false);
            return 0x20;
        };
        guest.Cpu.SetExternalInterrupt(true);

        guest.Run();

        Assert.Equal(1, guest.Cpu.Counters.Interrupts);
    }

    [Fact]
    public void Nmi_IsDeliveredByVector2()
    {
        using var guest = new WhpGuest([0xEB, 0xFE], 16);
        guest.Ram.Write(2 * 4, [0, 0x20, 0, 0]);
        guest.Ram.Write(0x2000, [0xBA, 0x00, 0x05, 0xEE]);
        guest.Cpu.InjectNmi();

        Assert.True(guest.Run().NmiBlocked);
        Assert.False(guest.State.NmiPending);
    }

    [Fact]
    public void LevelTriggeredMessage_ItsEndReachesTheBus()
    {
        // Real mode with the local APIC's page beyond reach: protected code writes EOI in the handler.
        using var guest = new WhpGuest([0xFB, 0xEB, 0xFE]);
        var ended = -1;
        guest.Bus.EndOfInterruptListener = vector =>
        {
            ended = vector;
            guest.Cpu.Kick();
        };
        guest.Ram.Write(0x4000 + 0x41 * 8, [0, 0x20, 8, 0, 0, 0x8E, 0, 0]);
        guest.Ram.Write(0x2000, [0xC7, 0x05, 0xB0, 0, 0xE0, 0xFE, 0, 0, 0, 0, 0xEB, 0xFE]);
        guest.Ram.Write(0x3008, [0xFF, 0xFF, 0, 0, 0, 0x9B, 0xCF, 0, 0xFF, 0xFF, 0, 0, 0, 0x93, 0xCF, 0]);
        (guest.State.Idt, guest.State.Gdt) = (new DescriptorTable(0x4000, 0x7FF), new DescriptorTable(0x3000, 0x17));
        guest.Cpu.SetState(guest.State);
        guest.Cpu.GetState(guest.State);
        guest.State.Apic[0xF1] |= 1;
        guest.Cpu.SetState(guest.State);

        guest.Partition.SignalMsi(new MsiMessage(0xFEE00000, 0x8041));
        guest.Run();

        Assert.Equal(0x41, ended);
    }
}
