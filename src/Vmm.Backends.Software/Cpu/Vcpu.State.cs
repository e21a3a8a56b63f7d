using System.Runtime.InteropServices;
using Vmm.Core.X86;

namespace Vmm.Backends.Software.Cpu;

/// <summary>All state in and out of the engine-neutral form.</summary>
internal sealed partial class Vcpu
{
    /// <inheritdoc/>
    public void GetState(VcpuState state)
    {
        AbsorbMessages();
        ref var s = ref S;
        for (var i = 0; i < 16; i++) state.Gpr[i] = s.Gpr[i];
        (state.Rip, state.Rflags) = (s.Rip, s.Rflags);
        for (var i = 0; i < 6; i++) state.Segments[i] = s.Seg[i];
        (state.Ldt, state.Tr) = (s.Seg[6], s.Seg[7]);
        (state.Gdt, state.Idt) = (new DescriptorTable(s.GdtBase, (ushort)s.GdtLimit), new DescriptorTable(s.IdtBase, (ushort)s.IdtLimit));
        (state.Cr0, state.Cr2, state.Cr3, state.Cr4, state.Cr8) = (s.Cr0, s.Cr2, s.Cr3, s.Cr4, Apic.Tpr >> 4);
        (state.Xcr0, state.Efer, state.ApicBase) = (s.Xcr0, s.Efer, Apic.Base);
        for (var i = 0; i < 8; i++) state.Debug[i] = s.Dr[i];
        Pdptes.CopyTo(state.Pdptes, 0);
        // The APIC timer's count is there and its deadline is an MSR: it may not fire between the two.
        lock (Apic)
        {
            Apic.Save(state.Apic);
            state.Msrs = SaveMsrs();
        }

        XsaveImage.Store(this, state.Xsave);
        state.MpState = Activity;
        (state.NmiPending, state.NmiBlocked, state.InterruptShadow, state.ExternalInterrupt) = (_nmiPending, _nmiBlocked, _interruptShadow, _externalInterrupt);
        (state.InjectedVector, state.InjectedType, state.InjectedHasErrorCode, state.InjectedErrorCode) = _injected;
    }

    /// <inheritdoc/>
    public void SetState(VcpuState state)
    {
        if (state.FindImpossible(Model) is { } impossible)
        {
            throw new ArgumentException($"vCPU {Index}: no CPU of the model {Model} can have {impossible}; check where the state comes from, or choose a CPU model that has the feature.", nameof(state));
        }

        AbsorbMessages();
        Load(state);
    }

    private void Load(VcpuState state)
    {
        ref var s = ref S;
        for (var i = 0; i < 16; i++) s.Gpr[i] = state.Gpr[i];
        s.Rip = state.Rip;
        s.SystemFlags = (state.Rflags & Flags.Defined & ~Flags.Arithmetic) | 2;
        s.SetArithmetic(state.Rflags);
        for (var i = 0; i < 6; i++) s.Seg[i] = state.Segments[i];
        (s.Seg[6], s.Seg[7]) = (state.Ldt, state.Tr);
        SetGdt(state.Gdt.Base, state.Gdt.Limit);
        (s.IdtBase, s.IdtLimit) = (state.Idt.Base, state.Idt.Limit);
        (s.Cr0, s.Cr2, s.Cr3, s.Cr4) = (state.Cr0, state.Cr2, state.Cr3, state.Cr4);
        (s.Xcr0, s.Efer) = (state.Xcr0, state.Efer);
        for (var i = 0; i < 8; i++) s.Dr[i] = state.Debug[i];
        state.Pdptes.CopyTo(Pdptes, 0);
        s.Cpl = (s.Cr0 & ControlBits.Cr0Pe) == 0 ? 0 : (state.Rflags & Flags.VM) != 0 ? 3 : state.Segments[2].IsPresent ? state.Segments[2].Dpl : state.Segments[1].Selector & 3;
        Apic.Base = state.ApicBase;
        Apic.Load(state.ReadApic());
        Apic.Tpr = state.Cr8 << 4;
        LoadMsrs(state.Msrs);
        XsaveImage.Load(this, state.ReadXsave());
        Activity = state.MpState;
        (_nmiPending, _nmiBlocked, _interruptShadow, _externalInterrupt) = (state.NmiPending, state.NmiBlocked, state.InterruptShadow, state.ExternalInterrupt);
        _injected = (state.InjectedVector, state.InjectedType, state.InjectedHasErrorCode, state.InjectedErrorCode);
        s.FaultVector = -1;
        _shutdown = false;
        FlushTranslations(true);
        UpdateMode();
        Signal(EventInterrupt);
    }

    // An event that another backend had begun to deliver: whole again before the first instruction.
    private (short Vector, byte Type, bool HasError, uint Error) _injected = (-1, 0, false, 0);

    private void DeliverInjected()
    {
        var (vector, type, hasError, error) = _injected;
        _injected = (-1, 0, false, 0);
        if (type == 2) _nmiBlocked = true;
        if (type == 3) DeliverException(vector, hasError ? error : 0);
        else if (type is 0 or 2) DeliverInterrupt(vector);
        else if (!TryDeliver(vector, 0, false, Source.Software)) DeliverFault();
    }

    private void ResetByInit()
    {
        // INIT leaves TSC, MSRs, x87, SSE, CR0.CD/NW and the APIC's base as they are (Intel SDM vol. 3, table 10-1).
        var state = new VcpuState { ApicBase = Apic.Base };
        var (before, offset) = (SaveMsrs(), _tscOffset);
        state.Cr0 = (S.Cr0 & (ControlBits.Cr0Cd | ControlBits.Cr0Nw)) | ControlBits.Cr0Et;
        XsaveImage.Store(this, state.Xsave);
        Load(state);
        LoadMsrs(before);
        _tscOffset = offset;
    }
}
