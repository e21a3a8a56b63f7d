using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Core.X86;
using static Vmm.Backends.Software.Cpu.ControlBits;

namespace Vmm.Backends.Software.Interpret;

/// <summary>Control and debug registers, MSRs, fast system calls, caches, time, and waiting.</summary>
internal static partial class SystemOps
{
    private static ref Op Privileged(Vcpu cpu, ref Op op, bool done)
    {
        if (!done) return ref cpu.Fault(ref op, Vector.GP);
        return ref Vcpu.Next(ref op);
    }

    // A is the general register, B the control register.
    private static ref Op ReadControl(Vcpu cpu, ref Op op)
    {
        if (cpu.S.Cpl != 0) return ref cpu.Fault(ref op, Vector.GP);
        ref var s = ref cpu.S;
        ulong value;
        switch (op.B)
        {
            case 0: value = s.Cr0; break;
            case 2: value = s.Cr2; break;
            case 3: value = s.Cr3; break;
            case 4: value = s.Cr4; break;
            case 8: value = cpu.Apic.Tpr >> 4; break;
            default: return ref cpu.Fault(ref op, Vector.UD);
        }

        if (op.Size == 8) cpu.Reg<ulong>(op.A) = value;
        else cpu.SetReg(op.A, (uint)value);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op WriteControl(Vcpu cpu, ref Op op)
    {
        if (cpu.S.Cpl != 0) return ref cpu.Fault(ref op, Vector.GP);
        var value = op.Size == 8 ? cpu.Reg<ulong>(op.B) : cpu.Reg<uint>(op.B);
        switch (op.A)
        {
            case 0: return ref Privileged(cpu, ref op, cpu.TrySetCr0(value));
            case 2: cpu.S.Cr2 = value; break;
            case 3: return ref Privileged(cpu, ref op, cpu.TrySetCr3(value));
            case 4: return ref Privileged(cpu, ref op, cpu.TrySetCr4(value));
            case 8:
                if (value > 15) return ref cpu.Fault(ref op, Vector.GP);
                cpu.Apic.Tpr = value << 4;
                cpu.InterruptsChanged();
                break;
            default: return ref cpu.Fault(ref op, Vector.UD);
        }

        return ref Vcpu.Next(ref op);
    }

    private static ref Op ReadDebug(Vcpu cpu, ref Op op)
    {
        if (!cpu.TryDebugAccess(op.B, out var register)) return ref cpu.Fault(ref op);
        if (op.Size == 8) cpu.Reg<ulong>(op.A) = cpu.S.Dr[register];
        else cpu.SetReg(op.A, (uint)cpu.S.Dr[register]);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op WriteDebug(Vcpu cpu, ref Op op)
    {
        if (!cpu.TryDebugAccess(op.A, out var register)) return ref cpu.Fault(ref op);
        var value = op.Size == 8 ? cpu.Reg<ulong>(op.B) : cpu.Reg<uint>(op.B);
        if (!cpu.TrySetDebug(register, value)) return ref cpu.Fault(ref op, Vector.GP);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op ClearTaskSwitched(Vcpu cpu, ref Op op) => ref Privileged(cpu, ref op, cpu.S.Cpl == 0 && cpu.TrySetCr0(cpu.S.Cr0 & ~Cr0Ts));

    // D is 1 for a memory operand.
    private static ref Op StoreStatus(Vcpu cpu, ref Op op)
    {
        if (SegmentOps.Umip(cpu)) return ref cpu.Fault(ref op, Vector.GP);
        var cr0 = cpu.S.Cr0;
        if (op.D == 1)
        {
            if (!cpu.TryStore(ref op, (ushort)cr0)) return ref cpu.Fault(ref op);
        }
        else
        {
            switch (op.Size)
            {
                case 2: cpu.Reg<ushort>(op.A) = (ushort)cr0; break;
                case 4: cpu.SetReg(op.A, (uint)cr0); break;
                default: cpu.Reg<ulong>(op.A) = cr0; break;
            }
        }

        return ref Vcpu.Next(ref op);
    }

    private static ref Op LoadStatus(Vcpu cpu, ref Op op)
    {
        if (cpu.S.Cpl != 0) return ref cpu.Fault(ref op, Vector.GP);
        ushort value;
        if (op.D == 1)
        {
            if (!cpu.TryLoad(ref op, out value)) return ref cpu.Fault(ref op);
        }
        else
        {
            value = cpu.Reg<ushort>(op.A);
        }

        // LMSW can set PE but not clear it.
        var cr0 = (cpu.S.Cr0 & ~0xEUL) | (value & 0xFu);
        return ref Privileged(cpu, ref op, cpu.TrySetCr0(cr0));
    }

    private static ref Op InvalidatePage(Vcpu cpu, ref Op op)
    {
        if (cpu.S.Cpl != 0) return ref cpu.Fault(ref op, Vector.GP);
        if (cpu.TryLinear(ref op, 1, Mmu.Access.Read, out var linear)) cpu.FlushPage(linear);
        cpu.S.FaultVector = -1;
        return ref Vcpu.Next(ref op);
    }

    private static ref Op InvalidatePcid(Vcpu cpu, ref Op op)
    {
        if (cpu.S.Cpl != 0) return ref cpu.Fault(ref op, Vector.GP);
        var type = op.Size == 8 ? cpu.Reg<ulong>(op.A) : cpu.Reg<uint>(op.A);
        if (!cpu.TryLinear(ref op, 16, Mmu.Access.Read, out var linear) || !cpu.TryRead<ulong>(linear, out var pcid) || !cpu.TryRead<ulong>(linear + 8, out var address)) return ref cpu.Fault(ref op);
        if (type > 3 || (type < 2 && pcid > 0xFFF) || (type == 0 && !cpu.IsCanonical(address))
            || (type < 2 && pcid != 0 && (cpu.S.Cr4 & Cr4Pcide) == 0)) return ref cpu.Fault(ref op, Vector.GP);
        if (type == 0) cpu.FlushPage(address);
        else if (type == 1) cpu.FlushSpace(pcid);
        else cpu.FlushTranslations(type == 2);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op InvalidateCaches(Vcpu cpu, ref Op op) => ref Privileged(cpu, ref op, cpu.S.Cpl == 0);

    private static ref Op ReadMsr(Vcpu cpu, ref Op op)
    {
        cpu.SyncClock(ref op);
        if (cpu.S.Cpl == 0 && cpu.InterceptsMsr(cpu.Reg<uint>(8), false)) return ref cpu.Fault(ref op);
        if (cpu.S.Cpl != 0 || !cpu.TryReadMsr(cpu.Reg<uint>(8), out var value)) return ref cpu.Fault(ref op, Vector.GP);
        cpu.Gpr(0) = (uint)value;
        cpu.Gpr(2) = value >> 32;
        return ref Vcpu.Next(ref op);
    }

    private static ref Op WriteMsr(Vcpu cpu, ref Op op)
    {
        cpu.SyncClock(ref op);
        if (cpu.S.Cpl == 0 && cpu.InterceptsMsr(cpu.Reg<uint>(8), true)) return ref cpu.Fault(ref op);
        return ref Privileged(cpu, ref op, cpu.S.Cpl == 0 && cpu.TryWriteMsr(cpu.Reg<uint>(8), cpu.Reg<uint>(0) | cpu.Gpr(2) << 32));
    }

    private static ref Op ReadTsc(Vcpu cpu, ref Op op)
    {
        if (cpu.S.Cpl != 0 && (cpu.S.Cr4 & Cr4Tsd) != 0) return ref cpu.Fault(ref op, Vector.GP);
        cpu.SyncClock(ref op);
        var tsc = cpu.Tsc;
        cpu.Gpr(0) = (uint)tsc;
        cpu.Gpr(2) = tsc >> 32;
        if (op.Extra != 0) cpu.Gpr(1) = (uint)cpu.StoredMsr(Msr.TscAux);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op ReadProcessorId(Vcpu cpu, ref Op op)
    {
        cpu.Reg<ulong>(op.A) = (uint)cpu.StoredMsr(Msr.TscAux);
        return ref Vcpu.Next(ref op);
    }

    // No performance counters are offered: every counter number is invalid.
    private static ref Op ReadCounter(Vcpu cpu, ref Op op) => ref cpu.Fault(ref op, Vector.GP);

    private static ref Op Identify(Vcpu cpu, ref Op op)
    {
        if (cpu.InterceptsCpuid()) return ref cpu.Fault(ref op);
        var r = cpu.Cpuid(cpu.Reg<uint>(0), cpu.Reg<uint>(8));
        (cpu.Gpr(0), cpu.Gpr(3), cpu.Gpr(1), cpu.Gpr(2)) = (r.Eax, r.Ebx, r.Ecx, r.Edx);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op ClearInterrupts(Vcpu cpu, ref Op op)
    {
        ref var s = ref cpu.S;
        if (cpu.ProtectedMode && cpu.Iopl < s.Cpl)
        {
            if (!VirtualInterrupts(cpu)) return ref cpu.Fault(ref op, Vector.GP);
            s.SystemFlags &= ~Flags.VIF;
        }
        else
        {
            s.SystemFlags &= ~Flags.IF;
        }

        return ref Vcpu.Next(ref op);
    }

    private static ref Op SetInterrupts(Vcpu cpu, ref Op op)
    {
        ref var s = ref cpu.S;
        if (cpu.ProtectedMode && cpu.Iopl < s.Cpl)
        {
            if (!VirtualInterrupts(cpu) || (s.SystemFlags & Flags.VIP) != 0) return ref cpu.Fault(ref op, Vector.GP);
            s.SystemFlags |= Flags.VIF;
        }
        else if ((s.SystemFlags & Flags.IF) == 0)
        {
            s.SystemFlags |= Flags.IF;
            cpu.InterruptsChanged();
        }

        return ref Vcpu.Next(ref op);
    }

    private static bool VirtualInterrupts(Vcpu cpu) =>
        cpu.Vm86 ? (cpu.S.Cr4 & Cr4Vme) != 0 : cpu.S.Cpl == 3 && (cpu.S.Cr4 & Cr4Pvi) != 0;

    // FlowControl of HLT is Next, so the closing op follows; it leaves the chain because Halt signals an event.
    private static ref Op HaltUntilInterrupt(Vcpu cpu, ref Op op)
    {
        if (cpu.S.Cpl != 0) return ref cpu.Fault(ref op, Vector.GP);
        cpu.Halt();
        return ref Vcpu.Next(ref op);
    }

    private static ref Op ArmMonitor(Vcpu cpu, ref Op op)
    {
        if (cpu.S.Cpl != 0) return ref cpu.Fault(ref op, Vector.UD);
        if (cpu.Reg<uint>(8) != 0) return ref cpu.Fault(ref op, Vector.GP);
        if (!cpu.TryReadMonitored(ref op)) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    // MWAIT may end for any reason; nothing watches the line, so it ends at once.
    private static ref Op WaitMonitor(Vcpu cpu, ref Op op)
    {
        if (cpu.S.Cpl != 0) return ref cpu.Fault(ref op, Vector.UD);
        if (cpu.Reg<uint>(8) > 1) return ref cpu.Fault(ref op, Vector.GP);
        Thread.Yield();
        return ref Vcpu.Next(ref op);
    }

    private static ref Op SwapGs(Vcpu cpu, ref Op op)
    {
        if (cpu.S.Cpl != 0) return ref cpu.Fault(ref op, Vector.GP);
        (cpu.S.Seg[5].Base, cpu.S.KernelGsBase) = (cpu.S.KernelGsBase, cpu.S.Seg[5].Base);
        return ref Vcpu.Next(ref op);
    }

    // RDFSBASE and relatives: Extra is the segment.
    private static ref Op ReadBase(Vcpu cpu, ref Op op)
    {
        if ((cpu.S.Cr4 & Cr4FsGsBase) == 0) return ref cpu.Fault(ref op, Vector.UD);
        if (op.Size == 8) cpu.Reg<ulong>(op.A) = cpu.S.Seg[op.Extra].Base;
        else cpu.SetReg(op.A, (uint)cpu.S.Seg[op.Extra].Base);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op WriteBase(Vcpu cpu, ref Op op)
    {
        if ((cpu.S.Cr4 & Cr4FsGsBase) == 0) return ref cpu.Fault(ref op, Vector.UD);
        var value = op.Size == 8 ? cpu.Reg<ulong>(op.A) : cpu.Reg<uint>(op.A);
        if (!cpu.IsCanonical(value)) return ref cpu.Fault(ref op, Vector.GP);
        cpu.S.Seg[op.Extra].Base = value;
        return ref Vcpu.Next(ref op);
    }

    // CLAC and STAC: Extra is 1 to set.
    private static ref Op SetAccess(Vcpu cpu, ref Op op)
    {
        if (cpu.S.Cpl != 0) return ref cpu.Fault(ref op, Vector.UD);
        if (op.Extra != 0) cpu.S.SystemFlags |= Flags.AC;
        else cpu.S.SystemFlags &= ~Flags.AC;
        cpu.UpdateView();
        return ref Vcpu.Next(ref op);
    }

    private static ref Op SetExtendedControl(Vcpu cpu, ref Op op)
    {
        if ((cpu.S.Cr4 & Cr4OsXsave) == 0) return ref cpu.Fault(ref op, Vector.UD);
        return ref Privileged(cpu, ref op, cpu.S.Cpl == 0 && cpu.Reg<uint>(8) == 0 && cpu.TrySetXcr0(cpu.Reg<uint>(0) | cpu.Gpr(2) << 32));
    }

    private static ref Op ReadKeys(Vcpu cpu, ref Op op)
    {
        if ((cpu.S.Cr4 & Cr4Pke) == 0) return ref cpu.Fault(ref op, Vector.UD);
        if (cpu.Reg<uint>(8) != 0) return ref cpu.Fault(ref op, Vector.GP);
        cpu.Gpr(0) = cpu.S.Pkru;
        cpu.Gpr(2) = 0;
        return ref Vcpu.Next(ref op);
    }

    private static ref Op WriteKeys(Vcpu cpu, ref Op op)
    {
        if ((cpu.S.Cr4 & Cr4Pke) == 0) return ref cpu.Fault(ref op, Vector.UD);
        if (cpu.Reg<uint>(8) != 0 || cpu.Reg<uint>(16) != 0) return ref cpu.Fault(ref op, Vector.GP);
        cpu.S.Pkru = cpu.Reg<uint>(0);
        cpu.FlushTranslations(true);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op Syscall(Vcpu cpu, ref Op op)
    {
        ref var s = ref cpu.S;
        if ((s.Efer & EferSce) == 0 || !cpu.Code64) return ref cpu.Fault(ref op, Vector.UD);
        var star = s.Star;
        cpu.Gpr(1) = cpu.RipAfter(ref op);
        cpu.Gpr(11) = s.Rflags & ~Flags.RF;
        var flags = s.Rflags & ~(s.Fmask | Flags.RF);
        s.SetArithmetic(flags);
        s.SystemFlags = (flags & ~Flags.Arithmetic) | 2;
        s.Rip = s.Lstar;
        var selector = (ushort)((star >> 32) & 0xFFFC);
        s.Seg[2] = SegmentState.Data32((ushort)(selector + 8));
        cpu.SetCode(SegmentState.Code64(selector), 0);
        cpu.SampleTrap();
        return ref cpu.Continue();
    }

    private static ref Op Sysret(Vcpu cpu, ref Op op)
    {
        ref var s = ref cpu.S;
        if ((s.Efer & EferSce) == 0 || !cpu.Code64) return ref cpu.Fault(ref op, Vector.UD);
        if (s.Cpl != 0) return ref cpu.Fault(ref op, Vector.GP);
        var star = s.Star;
        var wide = op.Size == 8;
        if (wide && !cpu.IsCanonical(cpu.Gpr(1))) return ref cpu.Fault(ref op, Vector.GP);
        var selector = (ushort)(star >> 48);
        s.Rip = wide ? cpu.Gpr(1) : (uint)cpu.Gpr(1);
        const ulong loaded = Flags.Defined & ~(Flags.RF | Flags.VM);
        s.SetArithmetic(cpu.Gpr(11));
        s.SystemFlags = (cpu.Gpr(11) & loaded & ~Flags.Arithmetic) | 2;
        s.Seg[2] = SegmentState.Data32((ushort)((selector + 8) | 3)) with { Attributes = 0xC0F3 };
        var code = wide ? SegmentState.Code64((ushort)(selector + 16)) with { Attributes = 0xA0FB } : SegmentState.Code32(selector) with { Attributes = 0xC0FB };
        cpu.SetCode(code, 3);
        cpu.SampleTrap();
        cpu.InterruptsChanged();
        return ref cpu.Continue();
    }

    private static ref Op Sysenter(Vcpu cpu, ref Op op)
    {
        ref var s = ref cpu.S;
        var cs = (ushort)cpu.StoredMsr(Msr.SysenterCs);
        if (!cpu.ProtectedMode || (cs & ~3) == 0) return ref cpu.Fault(ref op, Vector.GP);
        s.SystemFlags &= ~(Flags.VM | Flags.IF | Flags.RF);
        var wide = cpu.LongMode;
        s.Rip = wide ? cpu.StoredMsr(Msr.SysenterEip) : (uint)cpu.StoredMsr(Msr.SysenterEip);
        cpu.Gpr(4) = wide ? cpu.StoredMsr(Msr.SysenterEsp) : (uint)cpu.StoredMsr(Msr.SysenterEsp);
        var selector = (ushort)(cs & ~3);
        s.Seg[2] = SegmentState.Data32((ushort)(selector + 8));
        cpu.SetCode(wide ? SegmentState.Code64(selector) : SegmentState.Code32(selector), 0);
        return ref cpu.Continue();
    }

    private static ref Op Sysexit(Vcpu cpu, ref Op op)
    {
        ref var s = ref cpu.S;
        var cs = (ushort)cpu.StoredMsr(Msr.SysenterCs);
        if (!cpu.ProtectedMode || (cs & ~3) == 0 || s.Cpl != 0) return ref cpu.Fault(ref op, Vector.GP);
        var wide = op.Size == 8;
        if (wide && (!cpu.IsCanonical(cpu.Gpr(2)) || !cpu.IsCanonical(cpu.Gpr(1)))) return ref cpu.Fault(ref op, Vector.GP);
        s.Rip = wide ? cpu.Gpr(2) : (uint)cpu.Gpr(2);
        cpu.Gpr(4) = wide ? cpu.Gpr(1) : (uint)cpu.Gpr(1);
        var selector = (ushort)((cs & ~3) + (wide ? 32 : 16));
        s.Seg[2] = SegmentState.Data32((ushort)((selector + 8) | 3)) with { Attributes = 0xC0F3 };
        var code = wide ? SegmentState.Code64(selector) with { Attributes = 0xA0FB } : SegmentState.Code32(selector) with { Attributes = 0xC0FB };
        cpu.SetCode(code, 3);
        return ref cpu.Continue();
    }
}
