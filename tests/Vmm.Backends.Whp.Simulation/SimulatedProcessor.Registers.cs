using System.Buffers.Binary;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Mmu;
using Vmm.Backends.Whp.Interop;
using Vmm.Core.X86;
using static Vmm.Backends.Whp.Interop.WHV_REGISTER_NAME;

namespace Vmm.Backends.Whp.Simulation;

/// <summary>Registers, events and the larger pieces of state by the platform's names.</summary>
internal sealed partial class SimulatedProcessor
{
    private static readonly Dictionary<WHV_REGISTER_NAME, uint> Msrs = MsrTable.Native.ToDictionary(m => m.Name, m => m.Msr);

    private readonly byte[] _standard = new byte[VcpuState.XsaveSize];
    private ulong _pendingInterruption, _deliverability, _tscAdjust;
    private WHV_UINT128 _pendingEvent;
    private bool _wasShutDown;

    public int Get(ReadOnlySpan<WHV_REGISTER_NAME> names, Span<WHV_REGISTER_VALUE> values)
    {
        for (var i = 0; i < names.Length; i++)
        {
            values[i] = default;
            if (!TryGet(names[i], ref values[i])) return WhpResult.WHV_E_INVALID_VP_REGISTER_NAME;
        }

        return 0;
    }

    public int Set(ReadOnlySpan<WHV_REGISTER_NAME> names, ReadOnlySpan<WHV_REGISTER_VALUE> values)
    {
        var system = false;
        for (var i = 0; i < names.Length; i++)
        {
            if (!TrySet(names[i], values[i], ref system)) return WhpResult.WHV_E_INVALID_VP_REGISTER_NAME;
        }

        if (system) Refresh();
        cpu.Signal(Vcpu.EventInterrupt);
        return 0;
    }

    public int GetXsave(Span<byte> buffer)
    {
        XsaveImage.Store(cpu, _standard);
        return XsaveFormat.ToCompacted(_standard, cpu.S.Xcr0, buffer);
    }

    public void SetXsave(ReadOnlySpan<byte> buffer)
    {
        Span<byte> area = stackalloc byte[8192];
        buffer.CopyTo(area);
        XsaveFormat.ToStandard(area, _standard);
        XsaveImage.Load(cpu, _standard);
    }

    public WHV_TRANSLATE_GVA_RESULT_CODE Translate(ulong gva, WHV_TRANSLATE_GVA_FLAGS flags, out ulong gpa)
    {
        var access = (flags & WHV_TRANSLATE_GVA_FLAGS.WHvTranslateGvaFlagValidateExecute) != 0 ? Access.Fetch : (flags & WHV_TRANSLATE_GVA_FLAGS.WHvTranslateGvaFlagValidateWrite) != 0 ? Access.Write : Access.Read;
        return cpu.TryTranslateFor(gva, access, out gpa) ? WHV_TRANSLATE_GVA_RESULT_CODE.WHvTranslateGvaResultSuccess : WHV_TRANSLATE_GVA_RESULT_CODE.WHvTranslateGvaResultPageNotPresent;
    }

    private bool TryGet(WHV_REGISTER_NAME name, ref WHV_REGISTER_VALUE value)
    {
        ref var s = ref cpu.S;
        switch (name)
        {
            case <= WHvX64RegisterR15: value.Reg64 = s.Gpr[(int)name]; return true;
            case WHvX64RegisterRip: value.Reg64 = s.Rip; return true;
            case WHvX64RegisterRflags: value.Reg64 = s.Rflags; return true;
            case >= WHvX64RegisterEs and <= WHvX64RegisterTr: value.Segment = To(s.Seg[(int)(name - WHvX64RegisterEs)]); return true;
            case WHvX64RegisterIdtr: (value.Table.Base, value.Table.Limit) = (s.IdtBase, (ushort)s.IdtLimit); return true;
            case WHvX64RegisterGdtr: (value.Table.Base, value.Table.Limit) = (s.GdtBase, (ushort)s.GdtLimit); return true;
            case WHvX64RegisterCr0: value.Reg64 = s.Cr0; return true;
            case WHvX64RegisterCr2: value.Reg64 = s.Cr2; return true;
            case WHvX64RegisterCr3: value.Reg64 = s.Cr3; return true;
            case WHvX64RegisterCr4: value.Reg64 = s.Cr4; return true;
            case WHvX64RegisterCr8: value.Reg64 = cpu.Apic.Tpr >> 4; return true;
            case >= WHvX64RegisterDr0 and <= WHvX64RegisterDr3: value.Reg64 = s.Dr[(int)(name - WHvX64RegisterDr0)]; return true;
            case WHvX64RegisterDr6: value.Reg64 = s.Dr[6]; return true;
            case WHvX64RegisterDr7: value.Reg64 = s.Dr[7]; return true;
            case WHvX64RegisterXCr0: value.Reg64 = s.Xcr0; return true;
            case WHvX64RegisterEfer: value.Reg64 = s.Efer; return true;
            case WHvX64RegisterApicBase: value.Reg64 = cpu.Apic.Base; return true;
            case WHvX64RegisterTscAdjust: value.Reg64 = _tscAdjust; return true;
            case >= WHvX64RegisterXmm0 and <= WHvX64RegisterXmm15:
                var xmm = cpu.Xmm<ulong>((byte)(name - WHvX64RegisterXmm0));
                (value.Reg128.Low64, value.Reg128.High64) = (xmm[0], xmm[1]);
                return true;
            case WHvRegisterPendingInterruption:
                var (vector, type, hasError, error) = cpu.Injected;
                value.Reg64 = vector < 0 ? _pendingInterruption : 1 | (ulong)type << 1 | (hasError ? 16u : 0) | (ulong)vector << 16 | (ulong)error << 32;
                return true;
            case WHvRegisterInterruptState: value.Reg64 = (cpu.InterruptShadow != 0 ? 1u : 0) | (cpu.NmiBlocked ? 2u : 0); return true;
            case WHvRegisterPendingEvent: value.Reg128 = _pendingEvent; return true;
            case WHvX64RegisterDeliverabilityNotifications: value.Reg64 = _deliverability; return true;
            case WHvRegisterInternalActivityState:
                value.Reg64 = cpu.Activity switch { MpState.Halted => 2, MpState.Runnable => 0, _ => 1u };
                return true;
        }

        return Msrs.TryGetValue(name, out var msr) && cpu.TryReadMsr(msr, out value.Reg64);
    }

    private bool TrySet(WHV_REGISTER_NAME name, WHV_REGISTER_VALUE value, ref bool system)
    {
        ref var s = ref cpu.S;
        switch (name)
        {
            case <= WHvX64RegisterR15: s.Gpr[(int)name] = value.Reg64; return true;
            case WHvX64RegisterRip: s.Rip = value.Reg64; return true;
            case WHvX64RegisterRflags:
                system |= ((value.Reg64 ^ s.Rflags) & ~Flags.Arithmetic) != 0;
                s.SystemFlags = (value.Reg64 & Flags.Defined & ~Flags.Arithmetic) | 2;
                s.SetArithmetic(value.Reg64);
                return true;
            case >= WHvX64RegisterXmm0 and <= WHvX64RegisterXmm15:
                cpu.Xmm<ulong>((byte)(name - WHvX64RegisterXmm0)) = System.Runtime.Intrinsics.Vector128.Create(value.Reg128.Low64, value.Reg128.High64);
                return true;
            case WHvRegisterPendingInterruption: _pendingInterruption = value.Reg64; cpu.Inject(-1, 0, false, 0); return true;
            case WHvRegisterPendingEvent: _pendingEvent = value.Reg128; return true;
            case WHvRegisterInterruptState: (cpu.InterruptShadow, cpu.NmiBlocked) = ((byte)((value.Reg64 & 1) != 0 ? 2 : 0), (value.Reg64 & 2) != 0); return true;
            case WHvX64RegisterDeliverabilityNotifications:
                _deliverability = value.Reg64;
                (cpu.NmiWindowRequested, cpu.InterruptWindowRequested) = ((value.Reg64 & 1) != 0, (value.Reg64 & 2) != 0);
                return true;
            case WHvRegisterInternalActivityState:
                cpu.Activity = (value.Reg64 & 1) != 0 ? MpState.InitReceived : (value.Reg64 & 2) != 0 ? MpState.Halted : MpState.Runnable;
                return true;
            case WHvX64RegisterTscAdjust: _tscAdjust = value.Reg64; return true;
        }

        system = true;
        switch (name)
        {
            case >= WHvX64RegisterEs and <= WHvX64RegisterTr: s.Seg[(int)(name - WHvX64RegisterEs)] = new SegmentState(value.Segment.Base, value.Segment.Limit, value.Segment.Selector, value.Segment.Attributes); return true;
            case WHvX64RegisterIdtr: (s.IdtBase, s.IdtLimit) = (value.Table.Base, value.Table.Limit); return true;
            case WHvX64RegisterGdtr: (s.GdtBase, s.GdtLimit) = (value.Table.Base, value.Table.Limit); return true;
            case WHvX64RegisterCr0: s.Cr0 = value.Reg64; return true;
            case WHvX64RegisterCr2: s.Cr2 = value.Reg64; return true;
            case WHvX64RegisterCr3: s.Cr3 = value.Reg64; return true;
            case WHvX64RegisterCr4: s.Cr4 = value.Reg64; return true;
            case WHvX64RegisterCr8: cpu.Apic.Tpr = value.Reg64 << 4; return true;
            case >= WHvX64RegisterDr0 and <= WHvX64RegisterDr3: s.Dr[(int)(name - WHvX64RegisterDr0)] = value.Reg64; return true;
            case WHvX64RegisterDr6: s.Dr[6] = value.Reg64; return true;
            case WHvX64RegisterDr7: s.Dr[7] = value.Reg64; return true;
            case WHvX64RegisterXCr0: s.Xcr0 = value.Reg64; return true;
            case WHvX64RegisterEfer: s.Efer = value.Reg64; return true;
            case WHvX64RegisterApicBase: cpu.Apic.Base = value.Reg64; return true;
        }

        return Msrs.TryGetValue(name, out var msr) && cpu.TryWriteMsr(msr, value.Reg64);
    }

    // Events that were set are delivered at the next run, unless the processor is halted: then they wait.
    private void BeginEvents()
    {
        if (cpu.Activity != MpState.Runnable) return;
        if ((_pendingInterruption & 1) != 0)
        {
            var p = _pendingInterruption;
            _pendingInterruption = 0;
            cpu.Inject((byte)(p >> 16), (byte)(p >> 1 & 7), (p & 16) != 0, (uint)(p >> 32));
        }
        else if ((_pendingEvent.Low64 & 1) != 0)
        {
            var e = _pendingEvent.Low64;
            _pendingEvent = default;
            if ((e >> 1 & 7) == 5) cpu.Inject((byte)(e >> 8), 0, false, 0);
            else cpu.Inject((byte)(e >> 16), 3, (e & 0x100) != 0, (uint)(e >> 32));
        }
    }

    private void Refresh()
    {
        ref var s = ref cpu.S;
        s.Cpl = (s.Cr0 & 1) == 0 ? 0 : (s.Rflags & Flags.VM) != 0 ? 3 : s.Seg[2].IsPresent ? s.Seg[2].Dpl : s.Seg[1].Selector & 3;
        if ((s.Cr0 >> 31 & 1) != 0 && (s.Cr4 & 0x20) != 0 && (s.Efer & 0x400) == 0)
        {
            Span<byte> entries = stackalloc byte[32];
            if (cpu.Partition.Memory.TryRead(s.Cr3 & 0xFFFFFFE0, entries))
            {
                for (var i = 0; i < 4; i++) cpu.Pdptes[i] = BinaryPrimitives.ReadUInt64LittleEndian(entries[(i * 8)..]);
            }
        }

        if (_wasShutDown)
        {
            // Only a whole new state brings the software processor back from a shutdown.
            var state = new VcpuState();
            cpu.GetState(state);
            cpu.SetState(state);
            _wasShutDown = false;
        }

        cpu.FlushTranslations(true);
        cpu.UpdateMode();
    }
}
