using System.Buffers.Binary;
using Vmm.Backends.Whp.Interop;
using Vmm.Core.X86;
using static Vmm.Backends.Whp.Interop.WHV_REGISTER_NAME;

namespace Vmm.Backends.Whp;

/// <summary>All state in and out of the engine-neutral form.</summary>
internal sealed partial class WhpVcpu
{
    private const int Apic = 1024, Version = 0x30;

    private static readonly WHV_REGISTER_NAME[] s_registers =
    [
        .. Enumerable.Range(0, 18).Select(i => WHvX64RegisterRax + (uint)i), // general registers, RIP, RFLAGS
        .. Enumerable.Range(0, 8).Select(i => WHvX64RegisterEs + (uint)i), // ES to GS, LDTR, TR
        WHvX64RegisterIdtr, WHvX64RegisterGdtr, WHvX64RegisterCr0, WHvX64RegisterCr2, WHvX64RegisterCr3, WHvX64RegisterCr4, WHvX64RegisterCr8, WHvX64RegisterXCr0,
        WHvX64RegisterEfer, WHvX64RegisterApicBase, WHvX64RegisterDr0, WHvX64RegisterDr1, WHvX64RegisterDr2, WHvX64RegisterDr3, WHvX64RegisterDr6, WHvX64RegisterDr7,
        WHvRegisterPendingInterruption, WHvRegisterInterruptState, WHvRegisterInternalActivityState, WHvRegisterPendingEvent,
    ];

    private readonly byte[] _xsave = new byte[8192];
    private bool _waitsForInit;

    /// <inheritdoc/>
    public void GetState(VcpuState state)
    {
        ArgumentNullException.ThrowIfNull(state);
        var v = new WHV_REGISTER_VALUE[s_registers.Length];
        _calls.GetRegisters(Index, s_registers, v);
        for (var i = 0; i < 16; i++) state.Gpr[i] = v[i].Reg64;
        (state.Rip, state.Rflags) = (v[16].Reg64, v[17].Reg64);
        for (var i = 0; i < 6; i++) state.Segments[i] = From(v[18 + i].Segment);
        (state.Ldt, state.Tr) = (From(v[24].Segment), From(v[25].Segment));
        (state.Idt, state.Gdt) = (new DescriptorTable(v[26].Table.Base, v[26].Table.Limit), new DescriptorTable(v[27].Table.Base, v[27].Table.Limit));
        (state.Cr0, state.Cr2, state.Cr3, state.Cr4, state.Cr8) = (v[28].Reg64, v[29].Reg64, v[30].Reg64, v[31].Reg64, v[32].Reg64);
        (state.Xcr0, state.Efer, state.ApicBase) = (v[33].Reg64, v[34].Reg64, v[35].Reg64);
        for (var i = 0; i < 4; i++) state.Debug[i] = v[36 + i].Reg64;
        (state.Debug[4], state.Debug[5], state.Debug[6], state.Debug[7]) = (0, 0, v[40].Reg64, v[41].Reg64);
        ReadPdptes(state);
        var written = _calls.GetXsave(Index, _xsave);
        XsaveFormat.ToStandard(_xsave.AsSpan(0, Math.Max(written, XsaveFormat.Extended)), state.Xsave);
        _calls.GetApic(Index, _apicPage);
        _apicPage.AsSpan(0, Apic).CopyTo(state.Apic);
        state.Msrs = ReadMsrs();
        ReadEvents(state, v[42].Reg64, v[43].Reg64, v[44].Reg64, v[45].Reg128);
    }

    /// <inheritdoc/>
    public void SetState(VcpuState state)
    {
        ArgumentNullException.ThrowIfNull(state);
        if (state.FindImpossible(_partition.Options.CpuModel) is { } impossible)
        {
            throw new ArgumentException($"vCPU {Index}: {impossible} is not possible on this CPU model; check where the state comes from, or choose a CPU model that has the feature.", nameof(state));
        }

        var v = new WHV_REGISTER_VALUE[s_registers.Length];
        for (var i = 0; i < 16; i++) v[i].Reg64 = state.Gpr[i];
        (v[16].Reg64, v[17].Reg64) = (state.Rip, state.Rflags | 2);
        for (var i = 0; i < 6; i++) v[18 + i].Segment = To(state.Segments[i]);
        (v[24].Segment, v[25].Segment) = (To(state.Ldt), To(state.Tr));
        (v[26].Table.Base, v[26].Table.Limit, v[27].Table.Base, v[27].Table.Limit) = (state.Idt.Base, (ushort)state.Idt.Limit, state.Gdt.Base, (ushort)state.Gdt.Limit);
        (v[28].Reg64, v[29].Reg64, v[30].Reg64, v[31].Reg64, v[32].Reg64) = (state.Cr0, state.Cr2, state.Cr3, state.Cr4, state.Cr8);
        (v[33].Reg64, v[34].Reg64, v[35].Reg64) = (state.Xcr0, state.Efer, state.ApicBase);
        for (var i = 0; i < 4; i++) v[36 + i].Reg64 = state.Debug[i];
        (v[40].Reg64, v[41].Reg64) = (state.Debug[6], state.Debug[7]);
        WriteEvents(state, v);

        // The APIC comes after its base and before CR8, which is its task priority too; memory of the MSRs in between.
        _calls.SetRegisters(Index, [WHvX64RegisterApicBase], [v[35]]);
        WriteApic(state);
        WriteMsrs(state.Msrs);
        _calls.SetRegisters(Index, s_registers, v);
        var size = XsaveFormat.ToCompacted(state.Xsave, state.Xcr0, _xsave);
        _calls.SetXsave(Index, _xsave.AsSpan(0, size));
        _shutdown = false;
    }

    private void SetInitialState()
    {
        var initial = new VcpuState();
        if (Index != 0)
        {
            initial.MpState = MpState.Uninitialized;
            initial.ApicBase &= ~0x100UL;
        }

        SetState(initial);
    }

    private static SegmentState From(WHV_X64_SEGMENT_REGISTER s) => new(s.Base, s.Limit, s.Selector, s.Attributes);

    private static WHV_X64_SEGMENT_REGISTER To(SegmentState s) => new() { Base = s.Base, Limit = s.Limit, Selector = s.Selector, Attributes = s.Attributes };

    // The platform does not show what MOV to CR3 has loaded; it is in memory still, unless the guest has changed it without saying so.
    private void ReadPdptes(VcpuState state)
    {
        Array.Clear(state.Pdptes);
        if ((state.Cr0 >> 31 & 1) == 0 || (state.Cr4 & 0x20) == 0 || (state.Efer & 0x400) != 0) return;
        Span<byte> entries = stackalloc byte[32];
        if (!Bus.Memory.TryRead(state.Cr3 & 0xFFFFFFE0, entries)) return;
        for (var i = 0; i < 4; i++) state.Pdptes[i] = BinaryPrimitives.ReadUInt64LittleEndian(entries[(i * 8)..]);
    }

    private MsrValue[] ReadMsrs()
    {
        var values = new WHV_REGISTER_VALUE[_native.Length];
        _calls.GetRegisters(Index, _nativeNames, values);
        var all = new List<MsrValue>(_native.Length + _held.Count);
        for (var i = 0; i < _native.Length; i++) all.Add(new MsrValue(_native[i].Msr, values[i].Reg64));
        all.AddRange(_held.Select(h => new MsrValue(h.Key, h.Value)));
        return [.. all.OrderBy(m => m.Index)];
    }

    // Registers that the list does not have are reset; those that this host does not have are left out.
    private void WriteMsrs(MsrValue[] saved)
    {
        ResetHeld();
        for (var i = 0; i < _native.Length; i++)
        {
            var (msr, name) = _native[i];
            var found = Array.FindIndex(saved, m => m.Index == msr);
            if ((found >= 0 ? saved[found].Value : MsrTable.ResetValue(msr)) is not { } wanted) continue;
            WHV_REGISTER_VALUE value = default;
            value.Reg64 = wanted;

            // Capabilities cannot be set everywhere, nor need to be.
            _ = _calls.TrySetRegisters(Index, [name], [value]);
        }

        foreach (var (msr, value) in saved)
        {
            if (_held.ContainsKey(msr)) _held[msr] = value;
        }
    }

    private void WriteApic(VcpuState state)
    {
        // An empty page asks for an APIC after reset.
        if (BinaryPrimitives.ReadUInt32LittleEndian(state.Apic.AsSpan(Version)) == 0) ResetApic(state.ApicBase);
        else state.Apic.CopyTo(_apicPage, 0);
        _calls.SetApic(Index, _apicPage);
    }

    // Intel SDM vol. 3, 11.4.7.1; and the bootstrap processor's LINT0 takes the 8259 as a BIOS leaves it.
    private void ResetApic(ulong apicBase)
    {
        const uint masked = 0x10000;
        _calls.GetApic(Index, _apicPage);
        var version = BinaryPrimitives.ReadUInt32LittleEndian(_apicPage.AsSpan(Version));
        Array.Clear(_apicPage);
        void Set(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_apicPage.AsSpan(offset), value);
        Set(0x20, (apicBase & 0xC00) == 0xC00 ? (uint)Index : (uint)Index << 24);
        Set(Version, version != 0 ? version : 0x01060014);
        Set(0xE0, uint.MaxValue);
        Set(0xF0, 0xFF);
        foreach (var lvt in (ReadOnlySpan<int>)[0x2F0, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370]) Set(lvt, masked);
        if (Index == 0) Set(Lint0, 0x700);
    }

    private void ReadEvents(VcpuState state, ulong interruption, ulong interruptState, ulong activity, WHV_UINT128 pending)
    {
        (state.InjectedVector, state.InjectedType, state.InjectedHasErrorCode, state.InjectedErrorCode) = (-1, 0, false, 0);
        if ((interruption & WHV_X64_PENDING_INTERRUPTION_REGISTER.InterruptionPending) != 0)
        {
            state.InjectedVector = (byte)(interruption >> 16);
            state.InjectedType = (byte)(interruption >> 1 & 7);
            state.InjectedHasErrorCode = (interruption & WHV_X64_PENDING_INTERRUPTION_REGISTER.DeliverErrorCode) != 0;
            state.InjectedErrorCode = state.InjectedHasErrorCode ? (uint)(interruption >> 32) : 0;
        }
        else if ((pending.Low64 & WHV_X64_PENDING_EXCEPTION_EVENT.EventPending) != 0)
        {
            var isException = (pending.Low64 >> 1 & 7) == (ulong)WHV_X64_PENDING_EVENT_TYPE.WHvX64PendingEventException;
            state.InjectedVector = (byte)(pending.Low64 >> (isException ? 16 : 8));
            state.InjectedType = (byte)(isException ? 3 : 0);
            state.InjectedHasErrorCode = isException && (pending.Low64 & WHV_X64_PENDING_EXCEPTION_EVENT.DeliverErrorCode) != 0;
            state.InjectedErrorCode = state.InjectedHasErrorCode ? (uint)(pending.Low64 >> 32) : 0;
        }

        // The platform tells of one kind of shadow only.
        state.InterruptShadow = (byte)((interruptState & WHV_X64_INTERRUPT_STATE_REGISTER.InterruptShadow) != 0 ? 2 : 0);
        state.NmiBlocked = (interruptState & WHV_X64_INTERRUPT_STATE_REGISTER.NmiMasked) != 0;
        (state.NmiPending, state.ExternalInterrupt) = (_nmi, _external);

        // A processor that waits for its start-up message may have had the INIT or not: where it ran it may have had.
        state.MpState = (activity & WHV_INTERNAL_ACTIVITY_REGISTER.StartupSuspend) != 0 ? (_waitsForInit ? MpState.Uninitialized : MpState.InitReceived)
            : (activity & WHV_INTERNAL_ACTIVITY_REGISTER.HaltSuspend) != 0 ? MpState.Halted : MpState.Runnable;
    }

    private void WriteEvents(VcpuState state, WHV_REGISTER_VALUE[] v)
    {
        if (state.InjectedVector >= 0)
        {
            v[42].Reg64 = WHV_X64_PENDING_INTERRUPTION_REGISTER.InterruptionPending | (ulong)state.InjectedType << 1
                | (state.InjectedHasErrorCode ? WHV_X64_PENDING_INTERRUPTION_REGISTER.DeliverErrorCode : 0) | (ulong)state.InjectedVector << 16 | (ulong)state.InjectedErrorCode << 32;
        }

        v[43].Reg64 = (state.InterruptShadow != 0 ? WHV_X64_INTERRUPT_STATE_REGISTER.InterruptShadow : 0) | (state.NmiBlocked ? WHV_X64_INTERRUPT_STATE_REGISTER.NmiMasked : 0);
        v[44].Reg64 = state.MpState switch
        {
            MpState.Uninitialized or MpState.InitReceived => WHV_INTERNAL_ACTIVITY_REGISTER.StartupSuspend,
            MpState.Halted => WHV_INTERNAL_ACTIVITY_REGISTER.HaltSuspend,
            _ => 0,
        };
        _waitsForInit = state.MpState == MpState.Uninitialized;
        (_nmi, _external) = (state.NmiPending, state.ExternalInterrupt);
        _windowAsked = 0;
        Interlocked.Exchange(ref _eventsChanged, 1);
    }
}
