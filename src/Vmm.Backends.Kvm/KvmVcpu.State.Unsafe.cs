using System.Numerics;
using System.Runtime.InteropServices;
using Vmm.Backends.Kvm.Interop;
using Vmm.Core.Buses;
using Vmm.Core.X86;
using static Vmm.Backends.Kvm.Interop.Kvm;

namespace Vmm.Backends.Kvm;

/// <summary>All state in and out of the engine-neutral form.</summary>
internal sealed unsafe partial class KvmVcpu
{
    private const int LegacyAndHeader = 576, PkruComponent = 9, PkruOffset = 2688, ComponentsAt = 512;
    private const int ApicId = 0x20, ApicVersion = 0x30, ApicTaskPriority = 0x80, ApicFormat = 0xE0, ApicSpurious = 0xF0, ApicInService = 0x100, ApicTriggerMode = 0x180, ApicRequested = 0x200, ApicLint0 = 0x350;
    private const uint Masked = 1 << 16, ExternalMode = 0x700;
    private const ulong X2ApicEnabled = 0xC00, BootstrapProcessor = 1 << 8;

    private readonly int _xsaveSize;

    /// <inheritdoc/>
    public void GetState(VcpuState state)
    {
        DeliverNmi();
        var regs = default(kvm_regs);
        _file.Call(KVM_GET_REGS, nameof(KVM_GET_REGS), ref regs);
        ReadOnlySpan<ulong> gpr = [regs.rax, regs.rcx, regs.rdx, regs.rbx, regs.rsp, regs.rbp, regs.rsi, regs.rdi, regs.r8, regs.r9, regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15];
        gpr.CopyTo(state.Gpr);
        (state.Rip, state.Rflags) = (regs.rip, regs.rflags);
        GetSystem(state);
        GetExtended(state);
        var debug = default(kvm_debugregs);
        _file.Call(KVM_GET_DEBUGREGS, nameof(KVM_GET_DEBUGREGS), ref debug);
        for (var i = 0; i < 4; i++) state.Debug[i] = debug.db[i];
        (state.Debug[4], state.Debug[5], state.Debug[6], state.Debug[7]) = (0, 0, debug.dr6, debug.dr7);
        var mp = default(kvm_mp_state);
        if (HasApic) _file.Call(KVM_GET_MP_STATE, nameof(KVM_GET_MP_STATE), ref mp);
        state.MpState = mp.mp_state == KVM_MP_STATE_SIPI_RECEIVED ? MpState.Runnable : (MpState)mp.mp_state;
        if (HasApic) GetApic(state);
        else Array.Clear(state.Apic);
        state.Msrs = GetMsrs();
        GetEvents(state);
        state.ExternalInterrupt = Volatile.Read(ref _external) != 0;
    }

    /// <inheritdoc/>
    public void SetState(VcpuState state)
    {
        CheckState(state);
        Settle();
        VcpuState? before = null;
        if (!_isAsMade) GetState(before = new VcpuState());
        try
        {
            Apply(state);
        }
        catch (Core.Errors.HypervisorException e) when (e.Code == Linux.EINVAL)
        {
            before ??= AsMade();
            _isAsMade = false;
            Apply(before);
            throw new ArgumentException($"vCPU {Index}: the host's KVM does not take this state ({e.Call}); check where it comes from, or choose a CPU model that has its features.", nameof(state), e);
        }

        _shutdown = _isAsMade = false;
        _isStateNew = true;
        _origin = long.MinValue;
        _partition.ClockLoaded(Index);
    }

    private bool HasApic => _partition.Settings.Irqchip != KvmIrqchip.None;

    // An access that device code broke off is still open in the kernel, and would write its result into the new state.
    private void Settle()
    {
        if (!_ioPending) return;
        RunState.immediate_exit = 1;
        _ = Linux.ioctl_raw(_file.Descriptor, (nuint)KVM_RUN, 0);
        RunState.immediate_exit = 0;
        _ioPending = false;
    }

    private VcpuState AsMade() => Index == 0 ? new VcpuState() : new VcpuState { MpState = MpState.Uninitialized, ApicBase = new VcpuState().ApicBase & ~BootstrapProcessor };

    private void DeliverNmi()
    {
        if (Interlocked.Exchange(ref _nmi, 0) != 0) _file.Call(KVM_NMI, nameof(KVM_NMI));
    }

    private void Apply(VcpuState state)
    {
        // The order is QEMU's: what later parts depend on (APIC base, CPUID's dynamic bits) comes first.
        SetSystem(state);
        var g = state.Gpr;
        var regs = new kvm_regs
        {
            rax = g[0], rcx = g[1], rdx = g[2], rbx = g[3], rsp = g[4], rbp = g[5], rsi = g[6], rdi = g[7], r8 = g[8], r9 = g[9], r10 = g[10], r11 = g[11],
            r12 = g[12], r13 = g[13], r14 = g[14], r15 = g[15], rip = state.Rip, rflags = state.Rflags | 2,
        };
        _file.Call(KVM_SET_REGS, nameof(KVM_SET_REGS), ref regs);
        SetExtended(state);
        SetMsrs(state.Msrs, isDeadline: false);
        if (HasApic) SetApic(state);
        SetEvents(state);
        if (HasApic)
        {
            var mp = new kvm_mp_state { mp_state = (uint)state.MpState };
            _file.Call(KVM_SET_MP_STATE, nameof(KVM_SET_MP_STATE), ref mp);
        }

        SetMsrs(state.Msrs, isDeadline: true);
        var debug = new kvm_debugregs { dr6 = state.Debug[6], dr7 = state.Debug[7] };
        for (var i = 0; i < 4; i++) debug.db[i] = state.Debug[i];
        _file.Call(KVM_SET_DEBUGREGS, nameof(KVM_SET_DEBUGREGS), ref debug);
        Interlocked.Exchange(ref _external, state.ExternalInterrupt ? 1 : 0);
    }

    private void GetSystem(VcpuState state)
    {
        var s = default(kvm_sregs2);
        if (_partition.Host.Has(KVM_CAP_SREGS2))
        {
            _file.Call(KVM_GET_SREGS2, nameof(KVM_GET_SREGS2), ref s);
        }
        else
        {
            var old = default(kvm_sregs);
            _file.Call(KVM_GET_SREGS, nameof(KVM_GET_SREGS), ref old);
            // SAFETY: the older structure begins with the same fields up to apic_base.
            s = *(kvm_sregs2*)&old;
            for (var i = 0; i < 4; i++) s.pdptrs[i] = 0;
        }

        (state.Segments[0], state.Segments[1], state.Segments[2]) = (Of(s.es), Of(s.cs), Of(s.ss));
        (state.Segments[3], state.Segments[4], state.Segments[5]) = (Of(s.ds), Of(s.fs), Of(s.gs));
        (state.Ldt, state.Tr) = (Of(s.ldt), Of(s.tr));
        (state.Gdt, state.Idt) = (new DescriptorTable(s.gdt.@base, s.gdt.limit), new DescriptorTable(s.idt.@base, s.idt.limit));
        (state.Cr0, state.Cr2, state.Cr3, state.Cr4, state.Cr8, state.Efer, state.ApicBase) = (s.cr0, s.cr2, s.cr3, s.cr4, s.cr8, s.efer, s.apic_base);
        for (var i = 0; i < 4; i++) state.Pdptes[i] = (s.flags & 1) != 0 ? s.pdptrs[i] : 0;
    }

    private void SetSystem(VcpuState state)
    {
        var ss = Of(state.Segments[2]);

        // The hardware takes the privilege level from SS, even from one that holds the null selector.
        if (!state.Segments[2].IsPresent) ss.dpl = (byte)(state.Segments[1].Selector & 3);
        var s = new kvm_sregs2
        {
            es = Of(state.Segments[0]), cs = Of(state.Segments[1]), ss = ss, ds = Of(state.Segments[3]), fs = Of(state.Segments[4]), gs = Of(state.Segments[5]),
            ldt = Of(state.Ldt), tr = Of(state.Tr),
            gdt = new kvm_dtable { @base = state.Gdt.Base, limit = state.Gdt.Limit }, idt = new kvm_dtable { @base = state.Idt.Base, limit = state.Idt.Limit },
            cr0 = state.Cr0, cr2 = state.Cr2, cr3 = state.Cr3, cr4 = state.Cr4, cr8 = state.Cr8, efer = state.Efer, apic_base = state.ApicBase,
        };
        if (!_partition.Host.Has(KVM_CAP_SREGS2))
        {
            // SAFETY: as above; the interrupt bitmap at its end stays empty.
            var old = *(kvm_sregs*)&s;
            for (var i = 0; i < 4; i++) old.interrupt_bitmap[i] = 0;
            _file.Call(KVM_SET_SREGS, nameof(KVM_SET_SREGS), ref old);
            return;
        }

        var isPae = (state.Cr0 & 1UL << 31) != 0 && (state.Cr4 & 1 << 5) != 0 && (state.Efer & 1 << 10) == 0;
        if (isPae && state.Pdptes.AsSpan().IndexOfAnyExcept(0UL) >= 0)
        {
            s.flags = 1;
            for (var i = 0; i < 4; i++) s.pdptrs[i] = state.Pdptes[i];
        }

        _file.Call(KVM_SET_SREGS2, nameof(KVM_SET_SREGS2), ref s);
    }

    private void GetExtended(VcpuState state)
    {
        Array.Clear(state.Xsave);
        var area = new byte[_xsaveSize];
        // SAFETY: the area has the size that the capability says, or 4096 bytes where it does not.
        fixed (byte* pointer = area)
        {
            if (_partition.Host.Has(KVM_CAP_XSAVE2)) _file.Call(KVM_GET_XSAVE2, nameof(KVM_GET_XSAVE2), (nint)pointer);
            else _file.Call(KVM_GET_XSAVE, nameof(KVM_GET_XSAVE), (nint)pointer);
        }

        Translate(area, state.Xsave, toHost: false);
        var xcrs = default(kvm_xcrs);
        state.Xcr0 = _partition.Host.Has(KVM_CAP_XCRS) && _file.TryCall(KVM_GET_XCRS, ref xcrs) >= 0 && xcrs.nr_xcrs > 0 ? xcrs.xcr0.value : 1;
    }

    private void SetExtended(VcpuState state)
    {
        if (_partition.Host.Has(KVM_CAP_XCRS))
        {
            var xcrs = new kvm_xcrs { nr_xcrs = 1, xcr0 = new kvm_xcr { value = state.Xcr0 } };
            _file.Call(KVM_SET_XCRS, nameof(KVM_SET_XCRS), ref xcrs);
        }

        var area = new byte[_xsaveSize];
        Translate(state.Xsave, area, toHost: true);
        // SAFETY: the kernel reads the size that it gave.
        fixed (byte* pointer = area) _file.Call(KVM_SET_XSAVE, nameof(KVM_SET_XSAVE), (nint)pointer);
    }

    // x87, SSE and AVX are at the same place everywhere; protection keys are where the host's processor has them, in VcpuState where Intel's do.
    private void Translate(ReadOnlySpan<byte> from, Span<byte> to, bool toHost)
    {
        from[..(LegacyAndHeader + 256)].CopyTo(to);
        var components = MemoryMarshal.Read<ulong>(from[ComponentsAt..]) & (7UL | 1UL << PkruComponent);
        var host = KvmCpuid.XsaveOffset(_partition.Host, PkruComponent);
        var (source, target) = toHost ? (PkruOffset, host) : (host, PkruOffset);
        if (host != 0 && host + 8 <= _xsaveSize) from.Slice(source, 8).CopyTo(to[target..]);
        else components &= ~(1UL << PkruComponent);
        to.Slice(ComponentsAt, 64).Clear();
        MemoryMarshal.Write(to[ComponentsAt..], components);
    }

    private void GetApic(VcpuState state)
    {
        // SAFETY: 1 KiB, as the ioctl's number says.
        fixed (byte* page = state.Apic) _file.Call(KVM_GET_LAPIC, nameof(KVM_GET_LAPIC), (nint)page);
    }

    private void SetApic(VcpuState state)
    {
        var page = (byte[])state.Apic.Clone();
        void Write(int register, uint value) => MemoryMarshal.Write(page.AsSpan(register), value);
        if (MemoryMarshal.Read<uint>(page.AsSpan(ApicVersion)) == 0)
        {
            // A state that says nothing of it is that after power-on, and the bootstrap processor's LINT0 takes the 8259 as a BIOS leaves it.
            Array.Clear(page);
            Write(ApicId, (state.ApicBase & X2ApicEnabled) == X2ApicEnabled ? (uint)Index : (uint)Index << 24);
            Write(ApicVersion, 0x14 | 5 << 16);
            Write(ApicFormat, uint.MaxValue);
            Write(ApicSpurious, 0xFF);
            for (var lvt = 0x320; lvt <= 0x370; lvt += 16) Write(lvt, Masked);
            if (Index == 0) Write(ApicLint0, ExternalMode);
        }

        if (_partition.Settings.Irqchip == KvmIrqchip.Split) LearnLevels(page);

        // CR8 is the task priority's class.
        if (page[ApicTaskPriority] >> 4 != (int)state.Cr8) Write(ApicTaskPriority, (uint)state.Cr8 << 4);

        // SAFETY: 1 KiB, as the ioctl's number says.
        fixed (byte* pointer = page) _file.Call(KVM_SET_LAPIC, nameof(KVM_SET_LAPIC), (nint)pointer);
    }

    // The kernel tells of an end of interrupt when the vCPU next goes in, which after a kick may never be: a saved state may go on elsewhere. So
    // what came level-triggered to this vCPU and is neither requested nor in service any more has ended. Told twice does no harm.
    private void TellLateEnds()
    {
        var page = stackalloc byte[1024];
        _file.Call(KVM_GET_LAPIC, nameof(KVM_GET_LAPIC), (nint)page);
        for (var word = 0; word < 8; word++)
        {
            // SAFETY: eight registers of each kind, 16 bytes apart, within the page.
            int Register(int first) => *(int*)(page + first + word * 16);
            for (var ended = _partition.Levels[word] & Register(ApicTriggerMode) & ~Register(ApicRequested) & ~Register(ApicInService); ended != 0; ended &= ended - 1)
            {
                _partition.EndLevel((byte)(word * 32 + BitOperations.TrailingZeroCount(ended)));
            }
        }
    }

    // The ends of level-triggered interrupts that come with a state are to be told as well.
    private void LearnLevels(byte[] page)
    {
        for (var vector = 16; vector < 256; vector++)
        {
            bool Has(int first) => (page[first + vector / 32 * 16 + vector / 8 % 4] >> vector % 8 & 1) != 0;
            if (Has(ApicTriggerMode) && (Has(ApicRequested) || Has(ApicInService))) _partition.LearnLevel(new MsiMessage(0xFEE00000 | (ulong)(uint)Index << 12, (uint)(1 << 15 | vector)));
        }
    }

    private void GetEvents(VcpuState state)
    {
        var e = default(kvm_vcpu_events);
        _file.Call(KVM_GET_VCPU_EVENTS, nameof(KVM_GET_VCPU_EVENTS), ref e);
        (state.InjectedVector, state.InjectedType, state.InjectedHasErrorCode, state.InjectedErrorCode) =
            (e.exception_injected | e.exception_pending) != 0 ? (e.exception_nr, (byte)3, e.exception_has_error_code != 0, e.exception_error_code)
            : e.interrupt_injected != 0 ? (e.interrupt_nr, e.interrupt_soft != 0 ? (byte)4 : (byte)0, false, 0u)
            : e.nmi_injected != 0 ? ((short)2, (byte)2, false, 0u)
            : ((short)-1, (byte)0, false, 0u);
        (state.NmiPending, state.NmiBlocked, state.InterruptShadow) = (e.nmi_pending != 0, e.nmi_masked != 0, e.interrupt_shadow);
    }

    private void SetEvents(VcpuState state)
    {
        var e = new kvm_vcpu_events
        {
            flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
            interrupt_shadow = state.InterruptShadow, nmi_pending = state.NmiPending ? (byte)1 : (byte)0, nmi_masked = state.NmiBlocked ? (byte)1 : (byte)0,
        };
        if (state.InjectedVector >= 0)
        {
            var vector = (byte)state.InjectedVector;
            switch (state.InjectedType)
            {
                case 2:
                    e.nmi_injected = 1;
                    break;
                case 3 or 6:
                    (e.exception_injected, e.exception_nr) = (1, vector);
                    (e.exception_has_error_code, e.exception_error_code) = (state.InjectedHasErrorCode ? (byte)1 : (byte)0, state.InjectedErrorCode);
                    break;
                default:
                    (e.interrupt_injected, e.interrupt_nr, e.interrupt_soft) = (1, vector, state.InjectedType == 4 ? (byte)1 : (byte)0);
                    break;
            }
        }

        _file.Call(KVM_SET_VCPU_EVENTS, nameof(KVM_SET_VCPU_EVENTS), ref e);
    }

    private static SegmentState Of(in kvm_segment s) => new(
        s.@base, s.limit, s.selector, (ushort)(s.type | s.s << 4 | s.dpl << 5 | (s.unusable != 0 ? 0 : s.present) << 7 | s.avl << 12 | s.l << 13 | s.db << 14 | s.g << 15));

    private static kvm_segment Of(SegmentState s)
    {
        byte Bits(int shift, int mask) => (byte)(s.Attributes >> shift & mask);
        return new kvm_segment
        {
            @base = s.Base, limit = s.Limit, selector = s.Selector, type = Bits(0, 15), s = Bits(4, 1), dpl = Bits(5, 3), present = Bits(7, 1), avl = Bits(12, 1),
            l = Bits(13, 1), db = Bits(14, 1), g = Bits(15, 1), unusable = (byte)(s.IsPresent ? 0 : 1),
        };
    }

    private void CheckState(VcpuState state)
    {
        var impossible = state.FindImpossible(_model);
        if (impossible is null && (state.Xcr0 & ~KvmCpuid.Xcr0(_partition.Host, _model)) != 0) impossible = $"XCR0 (0x{state.Xcr0:x})";
        if (impossible is not null) throw new ArgumentException($"vCPU {Index}: no processor of this CPU model holds this state: {impossible}; check where it comes from, or choose a CPU model that has the feature.", nameof(state));
    }
}
