using Iced.Intel;
using Vmm.Backends.Conformance.Guests;
using Vmm.Backends.Conformance.Software;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.State;
using Vmm.Core.X86;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Conformance.Topics;

/// <summary>A machine saved on one backend goes on on another: from this one to the software CPU, and the other way.</summary>
public abstract class CarryTests<TBackend> : Conformance<TBackend> where TBackend : BackendUnderTest, new()
{
    private const ulong Flag = GuestTables.Data;

    /// <summary>Where it begins: here, or on the software CPU.</summary>
    public static TheoryData<bool> Directions => [true, false];

    [Theory, MemberData(nameof(Directions))]
    public void Computation_InterruptedManyTimes_HasTheSameResult(bool fromHere)
    {
        const uint Rounds = 60_000;
        void Program(Assembler a)
        {
            var loop = a.CreateLabel();
            a.mov(eax, 1);
            a.mov(ecx, Rounds);
            a.Label(ref loop);
            a.imul(eax, eax, 1_664_525);
            a.add(eax, 1_013_904_223);
            a.mov(edx, eax);
            a.and(edx, 0xFFC);
            a.add(__dword_ptr[rsi + rdx], eax);
            a.ror(rbx, 7);
            a.adc(rbx, rax);
            a.push(rbx);
            a.pop(rdi);
            a.dec(ecx);
            a.jne(loop);
        }

        var whole = Guest(64, Program);
        whole[6] = GuestTables.Data;
        whole.RunToEnd();

        var guests = Pair(Program, fromHere);
        guests[0][6] = GuestTables.Data;
        var at = 0;
        var end = default(GuestEnd?);
        for (var moves = 0; end is null; moves++)
        {
            var guest = guests[at];
            guest.Vcpu.SetState(guest.State);
            // Twenty moves at arbitrary points, then to the end.
            end = moves < 20 ? guest.RunUntilKick(afterMilliseconds: 1) : guest.Continue();
            guest.Vcpu.GetState(guest.State);
            if (end is null) guest.MoveTo(guests[at ^= 1]);
        }

        Assert.Equal(EndKind.Exit, end.Value.Kind);
        Assert.Equal((whole[0], whole[3], whole[7]), (guests[at][0], guests[at][3], guests[at][7]));
        Assert.Equal(whole.Read(GuestTables.Data, 0x1000), guests[at].Read(GuestTables.Data, 0x1000));
    }

    [Theory, MemberData(nameof(Directions))]
    public void SystemRegisters_AreKept(bool fromHere)
    {
        var (from, to) = Moved(fromHere, a =>
        {
            a.mov(cr2, rdx);
            a.WriteMsr(0xC0000081, 0x0023_0010_0000_0000);
            a.WriteMsr(0xC0000082, 0xFFFF_8000_0000_1000);
            a.WriteMsr(0xC0000102, 0x7000_0000);
            a.WriteMsr(0xC0000100, 0x1_2345_6000);
            a.WriteMsr(0x175, 0xFFFF_8000_1111_1000);
        }, a =>
        {
            a.ReadMsr(0xC0000081);
            a.mov(r8, rax);
            a.ReadMsr(0xC0000082);
            a.mov(r9, rax);
            a.ReadMsr(0xC0000102);
            a.mov(r10, rax);
            a.ReadMsr(0xC0000100);
            a.mov(r11, rax);
            a.ReadMsr(0x175);
            a.mov(r12, rax);
            a.mov(r13, cr2);
        }, g => g[2] = 0xABCD);
        to.RunToEnd();
        Assert.Equal((0x0023_0010_0000_0000UL, 0xFFFF_8000_0000_1000UL, 0x7000_0000UL, 0x1_2345_6000UL, 0xFFFF_8000_1111_1000UL, 0xABCDUL), (to[8], to[9], to[10], to[11], to[12], to[13]));
        Assert.Equal(from.State.Cr4, to.State.Cr4);
    }

    [Theory, MemberData(nameof(Directions))]
    public void VectorAndFloatingPointRegisters_AreKept(bool fromHere)
    {
        var (_, to) = Moved(fromHere, a => { a.movups(xmm7, __xmmword_ptr[rsi]); a.fninit(); a.fldpi(); }, a => { a.movups(__xmmword_ptr[rsi + 16], xmm7); a.fstp(__qword_ptr[rsi + 32]); }, g =>
        {
            g[6] = GuestTables.Data;
            g.Write(GuestTables.Data, 0x0123_4567_89AB_CDEFUL);
            g.Write(GuestTables.Data + 8, 42UL);
        }, user: true);
        to.RunToEnd();
        Assert.Equal((0x0123_4567_89AB_CDEFUL, 42UL, Math.PI), (to.Read<ulong>(GuestTables.Data + 16), to.Read<ulong>(GuestTables.Data + 24), to.Read<double>(GuestTables.Data + 32)));
    }

    [Theory, MemberData(nameof(Directions))]
    public void PendingInterrupt_IsTakenThere(bool fromHere)
    {
        Need(HypervisorCapabilities.LocalApic);
        var (_, to) = Moved(fromHere, a => { a.ApicEnable(); a.ApicWrite(0x300, 0x40051); a.nop(); }, a => { a.sti(); a.Spin(); });
        to.RunToTrap(0x51);
    }

    [Theory, MemberData(nameof(Directions))]
    public void InterruptInService_HoldsBackItsClassThere(bool fromHere)
    {
        Need(HypervisorCapabilities.LocalApic);
        // Saved inside a handler that has not ended its interrupt.
        var (from, to) = Pair2(fromHere, a => { a.ApicEnable(); a.sti(); a.ApicWrite(0x300, 0x40051); a.Spin(); });
        from.RunToTrap(0x51);
        from.Place(GuestTables.Program, a => { a.sti(); a.ApicWrite(0x300, 0x40052); a.nop(); a.mov(__byte_ptr[Flag], 1); a.ApicEoi(); a.Spin(); });
        from.MoveTo(to);
        to.GoTo(GuestTables.Program).RunToTrap(0x52);
        Assert.Equal(1, to.Read<byte>(Flag));
    }

    [Theory, MemberData(nameof(Directions))]
    public void PeriodicTimer_TicksOnThere(bool fromHere)
    {
        Need(HypervisorCapabilities.LocalApic);
        var (_, to) = Moved(fromHere, a => { a.ApicEnable(); a.ApicWrite(0x3E0, 0xB); a.ApicWrite(0x320, 0x20054); a.ApicWrite(0x380, 1_000_000); }, a =>
        {
            var loop = a.CreateLabel();
            a.sti();
            a.Label(ref loop);
            a.cmp(__byte_ptr[Flag], 3);
            a.jb(loop);
            a.cli();
        });
        to.Handle(0x54, a => { a.push(rbx); a.inc(__byte_ptr[Flag]); a.ApicEoi(); a.pop(rbx); a.iretq(); });
        to.RunToEnd();
    }

    [Theory, MemberData(nameof(Directions))]
    public void TaskPriority_IsKept(bool fromHere)
    {
        Need(HypervisorCapabilities.LocalApic);
        var (_, to) = Moved(fromHere, a => { a.ApicEnable(); a.mov(eax, 6); a.mov(cr8, rax); }, a => { a.sti(); a.ApicWrite(0x300, 0x40051); a.nop(); a.mov(rcx, cr8); });
        to.RunToEnd();
        Assert.Equal(6UL, to[1]);
    }

    [Theory, MemberData(nameof(Directions))]
    public void PendingNmi_IsTakenThere(bool fromHere)
    {
        var (from, to) = Pair2(fromHere, a => a.nop());
        from.RunToEnd();
        from.Vcpu.InjectNmi();
        from.Vcpu.GetState(from.State);
        Assert.True(from.State.NmiPending);
        from.MoveTo(to);
        to.GoTo(GuestTables.Program).RunToTrap(2);
    }

    [Theory, MemberData(nameof(Directions))]
    public void TimeStampCounter_GoesOn(bool fromHere)
    {
        Need(HypervisorCapabilities.FullSystem);
        var (_, to) = Moved(fromHere, a => { a.WriteMsr(0x10, 1UL << 50); a.rdtsc(); a.shl(rdx, 32); a.or(rax, rdx); a.mov(r8, rax); }, a => { a.rdtsc(); a.shl(rdx, 32); a.or(rax, rdx); });
        to.RunToEnd();
        Assert.InRange(to[0], to[8], to[8] + (1UL << 45));
    }

    [Theory, MemberData(nameof(Directions))]
    public void StringOutput_MovedInItsMiddle_IsWhole(bool fromHere)
    {
        var (from, to) = Pair2(fromHere, a => { a.cld(); a.mov(edx, 0x500); a.rep.outsb(); });
        (from[1], from[6]) = (4000, GuestTables.Data);
        for (var i = 0; i < 4000; i++) from.Write(GuestTables.Data + (ulong)i, (byte)(i * 7));
        List<byte> written = [];
        var stop = new StringPort(written, () => from.Vcpu.Kick(), 1234);
        from.Bus.Ports.Map(0x500, 1, stop);
        to.Bus.Ports.Map(0x500, 1, new StringPort(written, () => { }, int.MaxValue));
        from.Vcpu.SetState(from.State);
        Assert.Equal(VcpuStopKind.Kicked, from.Vcpu.Run().Kind);
        from.Vcpu.GetState(from.State);
        from.MoveTo(to);
        to.RunToEnd();
        Assert.Equal(Enumerable.Range(0, 4000).Select(i => (byte)(i * 7)), written);
    }

    [Theory, MemberData(nameof(Directions))]
    public void UserMode_GoesOnThere(bool fromHere)
    {
        var from = Dispose(new TestGuest(fromHere ? Backend : new SoftwareBackend(), 64, (a, _) => { a.mov(ecx, 5); a.nop(); }, user: true, vcpus: 1));
        var to = Dispose(new TestGuest(fromHere ? new SoftwareBackend() : Backend, 64, (a, _) => a.nop(), user: true, vcpus: 1));
        from.RunToEnd();
        from.Place(GuestTables.Program, a => { a.add(ecx, 2); a.ud2(); });
        from.MoveTo(to);
        to.GoTo(GuestTables.Program).RunToTrap(6);
        Assert.Equal((7UL, GuestTables.UserCode64), (to[1], to.Frame(1)));
    }

    [Theory, MemberData(nameof(Directions))]
    public void Halted_WakesThere(bool fromHere)
    {
        var (from, to) = Pair2(fromHere, a => { a.ApicEnable(); a.sti(); a.hlt(); a.mov(__byte_ptr[Flag], 1); a.cli(); });
        from.Handle(0x51, a => { a.push(rbx); a.ApicEoi(); a.pop(rbx); a.iretq(); });
        from.Vcpu.SetState(from.State);
        for (var tries = 0; tries < 1000 && from.State.MpState != MpState.Halted; tries++)
        {
            from.RunUntilKick(afterMilliseconds: 5);
            from.Vcpu.GetState(from.State);
        }

        from.MoveTo(to);
        to.Vcpu.SetState(to.State);
        to.Partition.SignalMsi(new MsiMessage(0xFEE00000, 0x51));
        Assert.Equal(EndKind.Exit, to.Continue().Kind);
        Assert.Equal(1, to.Read<byte>(Flag));
    }

    [Theory, MemberData(nameof(Directions))]
    public void RealMode_GoesOnThere(bool fromHere)
    {
        var from = Dispose(new TestGuest(fromHere ? Backend : new SoftwareBackend(), 16, (a, _) => { a.mov(ax, 0x4000); a.mov(es, ax); a.mov(cx, 5); }, user: false, vcpus: 1));
        var to = Dispose(new TestGuest(fromHere ? new SoftwareBackend() : Backend, 16, (a, _) => a.nop(), user: false, vcpus: 1));
        from.RunToEnd();
        from.Place(GuestTables.Program, a => { a.xor(di, di); a.mov(__word_ptr.es[di], cx); });
        from.MoveTo(to);
        to.GoTo(GuestTables.Program).RunToEnd();
        Assert.Equal(5, to.Read<ushort>(GuestTables.Data));
    }

    private TestGuest[] Pair(Action<Assembler> body, bool fromHere)
    {
        var (from, to) = Pair2(fromHere, body);
        return [from, to];
    }

    private (TestGuest From, TestGuest To) Pair2(bool fromHere, Action<Assembler> body, bool user = false)
    {
        TestGuest Make(BackendUnderTest backend) => Dispose(new TestGuest(backend, 64, (a, _) => body(a), user, vcpus: 1));
        return (Make(fromHere ? Backend : new SoftwareBackend()), Make(fromHere ? new SoftwareBackend() : Backend));
    }

    // The first half has been run; the second is ready to.
    private (TestGuest From, TestGuest To) Moved(bool fromHere, Action<Assembler> first, Action<Assembler> second, Action<TestGuest>? prepare = null, bool user = false)
    {
        var (from, to) = Pair2(fromHere, first, user);
        prepare?.Invoke(from);
        from.RunToEnd();
        from.Place(GuestTables.Program, second);
        from.MoveTo(to);
        to.GoTo(GuestTables.Program);
        return (from, to);
    }

    private sealed class StringPort(List<byte> written, Action interrupt, int at) : IIoHandler
    {
        public ulong Read(uint offset, int size) => 0;

        public void Write(uint offset, int size, ulong value)
        {
            written.Add((byte)value);
            if (written.Count == at) interrupt();
        }
    }
}
