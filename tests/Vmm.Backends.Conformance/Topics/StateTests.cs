using Iced.Intel;
using Vmm.Backends.Conformance.Guests;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.State;
using Vmm.Core.X86;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Conformance.Topics;

/// <summary>The engine-neutral state: what is set is what is read, and what the guest has.</summary>
public abstract class StateTests<TBackend> : Conformance<TBackend> where TBackend : BackendUnderTest, new()
{
    private static readonly int s_rounds = int.TryParse(Environment.GetEnvironmentVariable("VMM_STATES"), out var n) ? n : 100;

    [Theory, InlineData(16), InlineData(32), InlineData(64)]
    public void RandomStates_SetAndRead_AreTheSame(int bitness)
    {
        var guest = Guest(bitness, a => a.nop());
        var read = new VcpuState();
        for (var seed = 0; seed < s_rounds; seed++)
        {
            var state = new VcpuState();
            GuestTables.Write(guest.Memory, state, bitness, user: seed % 3 == 0);
            RandomState.Fill(state, seed);
            guest.Vcpu.SetState(state);
            guest.Vcpu.GetState(read);
            Assert.True(RandomState.Differences(state, read) is [], $"seed {seed}: {string.Join("; ", RandomState.Differences(state, read))}");
        }
    }

    [Theory, InlineData(16), InlineData(32), InlineData(64)]
    public void StatesReachedByRandomCode_LoadAgain(int bitness)
    {
        // Whatever the guest does, its state can be saved and loaded: a snapshot may be taken at any moment.
        var guest = Guest(bitness, a => a.nop());
        var (read, again) = (new VcpuState(), new VcpuState());
        for (var seed = 0; seed < s_rounds; seed++)
        {
            var random = new Random(seed);
            var code = new byte[256];
            random.NextBytes(code);
            var state = new VcpuState();
            GuestTables.Write(guest.Memory, state, bitness, user: false);
            guest.Write(GuestTables.Program, code);
            for (var i = 0; i < 16; i++) state.Gpr[i] = i == 4 ? state.Gpr[4] : (ulong)random.NextInt64(long.MinValue, long.MaxValue) >> random.Next(64);
            guest.Vcpu.SetState(state);
            guest.RunAWhile(milliseconds: 1);
            guest.Vcpu.GetState(read);
            guest.Vcpu.SetState(read);
            guest.Vcpu.GetState(again);
            Assert.True(RandomState.Differences(read, again) is [], $"seed {seed}: {string.Join("; ", RandomState.Differences(read, again))}");
        }
    }

    [Fact]
    public void StateReachedByAProgram_OnAnotherVcpu_IsTheSame()
    {
        var guest = Guest(64, Occupied);
        (guest[2], guest[6]) = (0x1234, GuestTables.Data);
        guest.RunToEnd();
        var other = Guest(64, a => a.nop());
        other.Vcpu.SetState(guest.State);
        var read = new VcpuState();
        other.Vcpu.GetState(read);
        Assert.Equal([], RandomState.Differences(guest.State, read));
    }

    [Fact]
    public void SavedBytes_LoadIntoTheSameState()
    {
        var guest = Guest(64, Occupied);
        guest[6] = GuestTables.Data;
        guest.RunToEnd();
        var loaded = new VcpuState();
        StateReader.Load("vcpu", StateWriter.Save(guest.State), loaded);
        Assert.Empty(StateComparer.Compare(guest.State, loaded));
    }

    [Fact]
    public void VectorRegisters_AreTheGuests()
    {
        var guest = Guest(64, a => { a.movups(__xmmword_ptr[rsi], xmm3); a.movaps(xmm15, xmm3); a.pxor(xmm3, xmm3); }, user: true);
        guest[6] = GuestTables.Data;
        for (var i = 0; i < 16; i++) guest.State.Xsave[160 + 3 * 16 + i] = (byte)(i + 1);
        guest.RunToEnd();
        Assert.Equal(Enumerable.Range(1, 16).Select(i => (byte)i), guest.Read(GuestTables.Data, 16));
        Assert.Equal(Enumerable.Range(1, 16).Select(i => (byte)i), guest.State.Xsave[(160 + 15 * 16)..(160 + 16 * 16)]);
        Assert.Equal(new byte[16], guest.State.Xsave[(160 + 3 * 16)..(160 + 4 * 16)]);
    }

    [Fact]
    public void FloatingPointStack_IsTheGuests()
    {
        var guest = Guest(64, a => { a.fninit(); a.fld1(); a.fldpi(); a.fadd(st0, st1); }, user: true);
        guest.RunToEnd();
        // ST(0) is pi + 1: TOP is 6, two registers are in use.
        Assert.Equal((0x3000, 0xC0), (BitConverter.ToUInt16(guest.State.Xsave, 2) & 0x3800, (int)guest.State.Xsave[4]));
        Assert.Equal((0x4001, 0x8487_ED51_10B4_611AUL), (BitConverter.ToUInt16(guest.State.Xsave, 40), BitConverter.ToUInt64(guest.State.Xsave, 32)));
        guest.Place(GuestTables.Program, a => { a.fstp(__tbyte_ptr[rsi]); a.fstp(__qword_ptr[rsi + 16]); });
        guest[6] = GuestTables.Data;
        guest.GoTo(GuestTables.Program).RunToEnd();
        Assert.Equal((0x8487_ED51_10B4_611AUL, 1.0), (guest.Read<ulong>(GuestTables.Data), guest.Read<double>(GuestTables.Data + 16)));
    }

    [Fact]
    public void Mxcsr_RoundsAsTheStateSays()
    {
        var guest = Guest(64, a => a.cvtsd2si(eax, __qword_ptr[rsi]), user: true);
        guest[6] = GuestTables.Data;
        guest.Write(GuestTables.Data, 1.5);
        foreach (var (rounding, expected) in new[] { (0u, 2UL), (1u, 1UL), (2u, 2UL), (3u, 1UL) })
        {
            BitConverter.TryWriteBytes(guest.State.Xsave.AsSpan(24), 0x1F80 | rounding << 13);
            guest.GoTo(GuestTables.Program).RunToEnd();
            Assert.Equal((rounding, expected), (rounding, guest[0]));
        }
    }

    [Fact]
    public void DebugRegisters_AreTheGuests()
    {
        var guest = Guest(64, a => { a.mov(rax, dr1); a.mov(rcx, dr7); a.mov(dr2, rdx); });
        (guest.State.Debug[1], guest.State.Debug[7], guest[2]) = (0x1234_5678, 0x404, 0x8765_4321);
        guest.RunToEnd();
        Assert.Equal((0x1234_5678UL, 0x404UL, 0x8765_4321UL), (guest[0], guest[1], guest.State.Debug[2]));
    }

    [Fact]
    public void ControlRegisters_AreTheGuests()
    {
        var guest = Guest(64, a => { a.mov(rax, cr0); a.mov(rcx, cr3); a.mov(rdx, cr4); a.mov(rbx, cr8); a.mov(rsi, cr2); a.mov(edi, 0x2222); a.mov(cr2, rdi); });
        (guest.State.Cr2, guest.State.Cr8) = (0x1111, 9);
        guest.RunToEnd();
        Assert.Equal((guest.State.Cr0, guest.State.Cr3, guest.State.Cr4, 9UL, 0x1111UL, 0x2222UL), (guest[0], guest[1], guest[2], guest[3], guest[6], guest.State.Cr2));
    }

    [Fact]
    public void DescriptorTables_AreTheGuests()
    {
        var guest = Guest(64, a => { a.sgdt(__[rsi]); a.sidt(__[rsi + 16]); a.str(ax); a.sldt(cx); a.lidt(__[rsi + 32]); });
        guest[6] = GuestTables.Data;
        guest.Write<ushort>(GuestTables.Data + 32, 0x7FF);
        guest.Write(GuestTables.Data + 34, GuestTables.Idt + 0x100);
        guest.RunToEnd();
        Assert.Equal((0xFF, GuestTables.Gdt, 0xFFF, GuestTables.Idt), (guest.Read<ushort>(GuestTables.Data), guest.Read<ulong>(GuestTables.Data + 2), guest.Read<ushort>(GuestTables.Data + 16), guest.Read<ulong>(GuestTables.Data + 18)));
        Assert.Equal((GuestTables.TssSelector, 0UL), (guest[0] & 0xFFFF, guest[1] & 0xFFFF));
        Assert.Equal(new DescriptorTable(GuestTables.Idt + 0x100, 0x7FF), guest.State.Idt);
    }

    [Theory, InlineData(0, 0x50, false, 0u), InlineData(3, 13, true, 0x1230u), InlineData(3, 6, false, 0u), InlineData(2, 2, false, 0u)]
    public void InjectedEvent_IsDeliveredBeforeTheFirstInstruction(byte type, short vector, bool hasError, uint error)
    {
        var guest = Guest(64, a => { a.mov(ecx, 1); a.Spin(); });
        if (type == 0) guest.State.Rflags |= 0x200;
        (guest.State.InjectedVector, guest.State.InjectedType, guest.State.InjectedHasErrorCode, guest.State.InjectedErrorCode) = (vector, type, hasError, error);
        guest.RunToTrap(vector);
        if (hasError) Assert.Equal(error, guest.Frame(0));
        Assert.Equal((GuestTables.Program, 0UL, -1), (guest.Frame(hasError ? 1 : 0), guest[1], guest.State.InjectedVector));
    }

    [Fact]
    public void InjectedEvent_ReadBackBeforeTheRun_IsStillThere()
    {
        var guest = Guest(64, a => a.Spin());
        (guest.State.InjectedVector, guest.State.InjectedType, guest.State.Rflags) = (0x50, 0, 0x202);
        guest.Vcpu.SetState(guest.State);
        guest.Vcpu.GetState(guest.State);
        Assert.Equal((0x50, 0), (guest.State.InjectedVector, guest.State.InjectedType));
    }

    [Theory, InlineData(1), InlineData(2)]
    public void InterruptShadow_HoldsAnInterruptOffForOneInstruction(byte shadow)
    {
        Need(HypervisorCapabilities.FullSystem);
        var guest = Guest(64, (a, at) => { a.mov(ecx, 1); at("behind"); a.mov(edx, 1); a.Spin(); });
        (guest.State.InterruptShadow, guest.State.Rflags, guest.State.ExternalInterrupt) = (shadow, 0x202, true);
        guest[2] = 0;
        guest.Bus.ExternalInterruptController = () =>
        {
            guest.Vcpu.SetExternalInterrupt(false);
            return 0x31;
        };
        guest.RunToTrap(0x31);
        Assert.Equal((guest["behind"], 1UL, 0UL), (guest.Frame(0), guest[1], guest[2]));
    }

    [Theory, InlineData(1), InlineData(2)]
    public void InterruptShadow_ReadBackBeforeTheRun_IsStillThere(byte shadow)
    {
        var guest = Guest(64, a => a.Spin());
        (guest.State.InterruptShadow, guest.State.Rflags) = (shadow, 0x202);
        guest.Vcpu.SetState(guest.State);
        guest.Vcpu.GetState(guest.State);
        Assert.NotEqual(0, guest.State.InterruptShadow);
    }

    [Fact]
    public void ExternalPin_IsPartOfTheState()
    {
        var guest = Guest(64, a => { a.cli(); a.nop(); });
        guest.State.ExternalInterrupt = true;
        guest.Bus.ExternalInterruptController = () =>
        {
            guest.Vcpu.SetExternalInterrupt(false);
            return 0x31;
        };
        guest.RunToEnd();
        Assert.True(guest.State.ExternalInterrupt);
        guest.Place(GuestTables.Program, a => { a.sti(); a.Spin(); });
        guest.GoTo(GuestTables.Program).RunToTrap(0x31);
        Assert.False(guest.State.ExternalInterrupt);
    }

    [Fact]
    public void ApicRegisters_AreTheGuests()
    {
        Need(HypervisorCapabilities.LocalApic);
        var guest = Guest(64, a => { a.ApicEnable(); a.ApicWrite(0xD0, 0x04000000); a.ApicWrite(0x80, 0x20); a.ApicWrite(0x350, 0x8700); a.ApicWrite(0x320, 0x20054); a.ApicWrite(0x3E0, 3); });
        guest.RunToEnd();
        uint Register(int at) => BitConverter.ToUInt32(guest.State.Apic, at);
        Assert.Equal((0u, 0x1FFu, 0x04000000u, 0x20u, 0x20054u, 3u), (Register(0x20), Register(0xF0), Register(0xD0), Register(0x80), Register(0x320), Register(0x3E0)));
        guest.Place(GuestTables.Program, a => { a.ApicRead(0xF0); a.mov(esi, eax); a.ApicRead(0xD0); a.mov(edi, eax); a.ApicRead(0x320); });
        guest.GoTo(GuestTables.Program).RunToEnd();
        Assert.Equal((0x1FFUL, 0x04000000UL, 0x20054UL), (guest[6], guest[7], guest[0]));
    }

    [Fact]
    public void ApicPendingInterrupt_IsPartOfTheState()
    {
        Need(HypervisorCapabilities.LocalApic);
        var guest = Guest(64, a => { a.ApicEnable(); a.Signal(); a.nop(); });
        guest.OnSignal = _ => guest.Partition.SignalMsi(new MsiMessage(0xFEE00000, 0x51));
        guest.RunToEnd();
        Assert.Equal(1u << (0x51 & 31), BitConverter.ToUInt32(guest.State.Apic, 0x200 + 0x51 / 32 * 16));
        var other = Guest(64, a => { a.sti(); a.Spin(); });
        other.GoTo(0);
        StateReader.Load("vcpu", StateWriter.Save(guest.State), other.State);
        other.GoTo(GuestTables.Program).RunToTrap(0x51);
    }

    [Fact]
    public void ApicTimer_GoesOnAfterALoad()
    {
        Need(HypervisorCapabilities.LocalApic);
        var guest = Guest(64, a => { a.ApicEnable(); a.ApicWrite(0x3E0, 0xB); a.ApicWrite(0x320, 0x54); a.ApicWrite(0x380, 30_000_000); });
        guest.RunToEnd();
        // Still counting, or on a busy host done already, and then pending.
        Assert.True(BitConverter.ToUInt32(guest.State.Apic, 0x390) is > 0 and <= 30_000_000 || BitConverter.ToUInt32(guest.State.Apic, 0x220) == 1u << (0x54 & 31));
        var other = Guest(64, a => { a.sti(); a.Spin(); });
        StateReader.Load("vcpu", StateWriter.Save(guest.State), other.State);
        other.GoTo(GuestTables.Program).RunToTrap(0x54);
    }

    public static TheoryData<string> Impossible => [.. s_impossible.Keys];

    private static readonly Dictionary<string, Action<VcpuState>> s_impossible = new()
    {
        ["CR0 high half"] = s => s.Cr0 |= 1UL << 40, ["paging without protection"] = s => s.Cr0 = 0x80000010, ["CR3 beyond the address width"] = s => s.Cr3 = 1UL << 60,
        ["CR4 reserved"] = s => s.Cr4 |= 1UL << 40, ["long mode without PAE"] = s => s.Cr4 = 0, ["CR8"] = s => s.Cr8 = 16, ["EFER reserved"] = s => s.Efer |= 2, ["EFER without LMA"] = s => s.Efer &= ~0x400UL,
        ["XCR0 zero"] = s => s.Xcr0 = 0, ["XCR0 AVX without SSE"] = s => s.Xcr0 = 5, ["virtual-8086 in long mode"] = s => s.Rflags |= 0x20000, ["activity"] = s => s.MpState = (MpState)77,
        ["vector"] = s => s.InjectedVector = 256, ["DR7"] = s => s.Debug[7] = 1UL << 33, ["RIP"] = s => s.Rip = 0x8000_0000_0000_0000, ["FS base"] = s => s.Segments[4].Base = 0x8000_0000_0000_0000,
        ["GDT base"] = s => s.Gdt.Base = 0x8000_0000_0000_0000, ["IDT base"] = s => s.Idt.Base = 0x1234_0000_0000_0000, ["PAT"] = s => s.Msrs = [new MsrValue(0x277, 0x0007_0403_0007_0406)], ["LSTAR"] = s => s.Msrs = [new MsrValue(0xC0000082, 0x8000_0000_0000_0000)],
        ["CS not present"] = s => s.Segments[1].Attributes = 0xA01B, ["CS long and 32-bit"] = s => s.Segments[1].Attributes = 0xE09B, ["CS a system segment"] = s => s.Segments[1].Attributes = 0xA08B,
        ["SS a code segment"] = s => s.Segments[2].Attributes = 0xC09B, ["DS not readable"] = s => s.Segments[3].Attributes = 0xC099, ["DS limit"] = s => s.Segments[3].Limit = 0x12345678,
        ["ES base"] = s => s.Segments[0].Base = 1UL << 40, ["TR a data segment"] = s => s.Tr.Attributes = 0x93, ["LDTR a TSS"] = s => s.Ldt = new SegmentState(0, 0xFF, 0x50, 0x8B), ["shadow"] = s => s.InterruptShadow = 7,
    };

    [Theory, MemberData(nameof(Impossible))]
    public void ImpossibleState_IsRefused_AndNothingChanges(string what)
    {
        var guest = Guest(64, a => a.nop());
        guest[3] = 0x1234;
        guest.Vcpu.SetState(guest.State);
        var (before, bad, after) = (new VcpuState(), new VcpuState(), new VcpuState());
        guest.Vcpu.GetState(before);
        guest.Vcpu.GetState(bad);
        bad.Gpr[3] = 0x5678;
        s_impossible[what](bad);
        Assert.Throws<ArgumentException>(() => guest.Vcpu.SetState(bad));
        guest.Vcpu.GetState(after);
        Assert.Equal([], RandomState.Differences(before, after));
    }

    // Something in every part of the state that plain kernel code reaches.
    private static void Occupied(Assembler a)
    {
        a.ApicEnable();
        a.ApicWrite(0x80, 0x30);
        a.mov(cr2, rdx);
        a.WriteMsr(0xC0000081, 0x0023_0010_0000_0000);
        a.WriteMsr(0xC0000082, 0xFFFF_8000_0000_1000);
        a.WriteMsr(0xC0000102, 0x7000_0000);
        a.WriteMsr(0xC0000100, 0x1_2345_6000);
        a.movups(xmm0, __xmmword_ptr[rsi]);
        a.mov(ebx, 0x1234_5678);
        a.stc();
    }
}
