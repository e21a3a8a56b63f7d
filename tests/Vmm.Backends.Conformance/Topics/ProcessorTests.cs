using Iced.Intel;
using Vmm.Backends.Conformance.Guests;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.X86;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Conformance.Topics;

/// <summary>Several vCPUs: start-up, interrupts from one to another, atomic operations.</summary>
public abstract class ProcessorTests<TBackend> : Conformance<TBackend> where TBackend : BackendUnderTest, new()
{
    private const ulong Flag = GuestTables.Data, Second = 0x18000;

    [Fact]
    public void ApplicationProcessor_WaitsForInit()
    {
        var guest = Guest(64, a => a.nop(), vcpus: 2);
        var state = new VcpuState();
        guest.Partition.Vcpus[1].GetState(state);
        Assert.Equal((MpState.Uninitialized, 0xFEE00800UL), (state.MpState, state.ApicBase));
    }

    [Theory, InlineData(false), InlineData(true)]
    public void InitAndStartup_StartItInRealMode(bool x2Apic)
    {
        Need(HypervisorCapabilities.LocalApic);
        var guest = Guest(64, a =>
        {
            if (x2Apic)
            {
                a.WriteMsr(0x1B, 0xFEE00D00);
                a.WriteMsr(0x830, 0x1_0000_4500);
                a.WriteMsr(0x830, 0x1_0000_4618);
            }
            else
            {
                a.ApicWrite(0x310, 1 << 24);
                a.ApicWrite(0x300, 0x4500);
                a.ApicWrite(0x300, 0x4618);
            }
        }, vcpus: 2);
        guest.Place(Second, 16, (a, _) => { a.mov(ax, cs); a.mov(ds, ax); a.mov(__word_ptr[0x100], ax); });
        var second = Start(guest);
        guest.RunToEnd();
        Assert.Equal(EndKind.Exit, second.Result.Kind);
        Assert.Equal(0x1800, guest.Read<ushort>(Second + 0x100));
        Assert.Equal((Second, 0x1800), (guest.StateOf(1).Segments[1].Base, guest.StateOf(1).Segments[1].Selector));
    }

    [Fact]
    public void Startup_BeforeInit_IsIgnored()
    {
        Need(HypervisorCapabilities.LocalApic);
        // The start-up message for 0x17000 comes before INIT, the one for 0x18000 after it.
        var guest = Guest(64, a =>
        {
            a.ApicWrite(0x310, 1 << 24);
            a.ApicWrite(0x300, 0x4617);
            a.ApicWrite(0x300, 0x4500);
            a.ApicWrite(0x300, 0x4618);
        }, vcpus: 2);
        guest.Place(0x17000, 16, (a, _) => { a.mov(al, 1); });
        guest.Place(Second, 16, (a, _) => { a.mov(al, 2); });
        // Not run meanwhile: what comes is kept in order.
        guest.RunToEnd();
        Assert.Equal(new GuestEnd(EndKind.Exit, 2), Start(guest).Result);
    }

    [Fact]
    public void Init_OfARunningProcessor_SendsItBackToWait()
    {
        Need(HypervisorCapabilities.LocalApic);
        var guest = Guest(64, a =>
        {
            var wait = a.CreateLabel();
            a.ApicWrite(0x310, 1 << 24);
            a.Label(ref wait);
            a.cmp(__byte_ptr[Flag], 1);
            a.jne(wait);
            a.ApicWrite(0x300, 0x4500);
            a.ApicWrite(0x300, 0x4618);
        }, vcpus: 2);
        guest.Place(0x17000, a => { a.mov(__byte_ptr[Flag], 1); a.Spin(); });
        guest.Place(Second, 16, (a, _) => { a.mov(al, 3); });
        guest.Prepare(1, 0x17000);
        var second = guest.Start(1);
        guest.RunToEnd();
        Assert.Equal(new GuestEnd(EndKind.Exit, 3), second.Result);
        Assert.Equal((0UL, 0UL), (guest.StateOf(1).Cr0 & 0x8000_0001, guest.StateOf(1).Efer));
    }

    [Fact]
    public void Ipi_FromOneToTheOther_IsTaken()
    {
        Need(HypervisorCapabilities.LocalApic);
        var guest = Guest(64, a =>
        {
            var wait = a.CreateLabel();
            a.ApicEnable();
            a.Label(ref wait);
            a.cmp(__byte_ptr[Flag], 1);
            a.jne(wait);
            a.ApicWrite(0x310, 1 << 24);
            a.ApicWrite(0x300, 0x51);
        }, vcpus: 2);
        guest.Place(Second, a => { a.ApicEnable(); a.sti(); a.mov(__byte_ptr[Flag], 1); a.Spin(); });
        guest.Prepare(1, Second);
        var second = guest.Start(1);
        guest.RunToEnd();
        guest.ShouldEnd(GuestEnd.Trap(0x51), second.Result, 1);
    }

    [Fact]
    public void Ipi_ToAllOthers_WakesHaltedOnes()
    {
        Need(HypervisorCapabilities.LocalApic);
        var guest = Guest(64, a =>
        {
            var wait = a.CreateLabel();
            a.ApicEnable();
            a.Label(ref wait);
            a.cmp(__dword_ptr[Flag], 2);
            a.jne(wait);
            a.ApicWrite(0x300, 0xC0051);
        }, vcpus: 3);
        guest.Place(Second, a => { a.ApicEnable(); a.@lock.inc(__dword_ptr[Flag]); a.sti(); a.hlt(); });
        Background<GuestEnd>[] others = [.. Enumerable.Range(1, 2).Select(i =>
        {
            guest.Prepare(i, Second);
            return guest.Start(i);
        })];
        guest.RunToEnd();
        foreach (var other in others) Assert.Equal(GuestEnd.Trap(0x51), other.Result);
    }

    [Fact]
    public void Ipi_Nmi_IsTakenByTheOther()
    {
        Need(HypervisorCapabilities.LocalApic);
        var guest = Guest(64, a =>
        {
            var wait = a.CreateLabel();
            a.ApicEnable();
            a.Label(ref wait);
            a.cmp(__byte_ptr[Flag], 1);
            a.jne(wait);
            a.ApicWrite(0x310, 1 << 24);
            a.ApicWrite(0x300, 0x400);
        }, vcpus: 2);
        guest.Place(Second, a => { a.cli(); a.mov(__byte_ptr[Flag], 1); a.Spin(); });
        guest.Prepare(1, Second);
        var second = guest.Start(1);
        guest.RunToEnd();
        Assert.Equal(GuestEnd.Trap(2), second.Result);
    }

    [Theory, InlineData(0), InlineData(1)]
    public void LowestPriority_GoesToTheOneWithTheLowerTaskPriority(int busy)
    {
        Need(HypervisorCapabilities.LocalApic);
        // Both have enabled their APICs and are in the same logical group; one has a high task priority.
        void Body(Assembler a, int index)
        {
            a.ApicEnable();
            a.ApicWrite(0xD0, 1u << (24 + index));
            a.mov(eax, index == busy ? 8 : 1);
            a.mov(cr8, rax);
            a.sti();
        }

        var guest = Guest(64, a => Body(a, 0), vcpus: 2);
        guest.Place(Second, a => Body(a, 1));
        guest.RunToEnd();
        guest.Prepare(1, Second);
        Assert.Equal(EndKind.Exit, guest.Run(1).Kind);
        guest.Partition.SignalMsi(new MsiMessage(0xFEE03004, 0x1A1));
        guest.Place(0x19000, a => { a.nop(); a.nop(); });
        foreach (var (index, taken) in new[] { (busy, false), (1 - busy, true) })
        {
            var end = guest.GoOnAt(index, 0x19000);
            Assert.Equal(taken ? GuestEnd.Trap(0xA1) : new GuestEnd(EndKind.Exit), end with { Value = taken ? end.Value : 0 });
        }
    }

    [Theory, InlineData(GuestTables.Data), InlineData(GuestTables.Data + 0xFFE)]
    public void LockedAdditions_OfTwo_GiveTheExactSum(ulong address)
    {
        // Emulated it is two accesses across the edge of a page.
        if ((address & 0xFFF) > 0xFFC) Need(HypervisorCapabilities.FullSystem);
        var guest = Guest(64, Adder, vcpus: 2);
        guest.Place(Second, Adder);
        var other = guest.Prepare(1, Second);
        (guest[1], guest[7], other.Gpr[1], other.Gpr[7]) = (20_000, address, 20_000, address);
        var second = guest.Start(1);
        guest.RunToEnd();
        Assert.Equal(EndKind.Exit, second.Result.Kind);
        Assert.Equal(40_000u, guest.Read<uint>(address));
    }

    [Fact]
    public void StoresAndLoads_OfTwo_KeepTheOrderOfX86()
    {
        // Message passing: data is stored before the flag, so who sees the flag sees the data.
        var guest = Guest(64, a =>
        {
            var loop = a.CreateLabel();
            a.Label(ref loop);
            a.mov(__dword_ptr[Flag + 64], ecx);
            a.mov(__dword_ptr[Flag], ecx);
            a.inc(ecx);
            a.cmp(ecx, 100_000);
            a.jne(loop);
        }, vcpus: 2);
        guest.Place(Second, a =>
        {
            var (loop, bad) = (a.CreateLabel(), a.CreateLabel());
            a.Label(ref loop);
            a.mov(ecx, __dword_ptr[Flag]);
            a.mov(edx, __dword_ptr[Flag + 64]);
            a.cmp(edx, ecx);
            a.jb(bad);
            a.cmp(ecx, 99_999);
            a.jne(loop);
            a.mov(al, 1);
            a.End();
            a.Label(ref bad);
            a.mov(al, 2);
        });
        guest[1] = 1;
        guest.Prepare(1, Second);
        var second = guest.Start(1);
        guest.RunToEnd();
        Assert.Equal(new GuestEnd(EndKind.Exit, 1), second.Result);
    }

    private static void Adder(Assembler a)
    {
        var loop = a.CreateLabel();
        a.Label(ref loop);
        a.mov(eax, 1);
        a.@lock.xadd(__dword_ptr[rdi], eax);
        a.dec(ecx);
        a.jne(loop);
    }

    // Without setting a state: as the machine starts it.
    private static Background<GuestEnd> Start(TestGuest guest) => new(() => guest.Continue(1));
}
