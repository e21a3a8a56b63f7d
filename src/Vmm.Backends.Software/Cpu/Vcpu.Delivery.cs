using Vmm.Backends.Software.Mmu;
using Vmm.Core.X86;

namespace Vmm.Backends.Software.Cpu;

/// <summary>Delivery of exceptions and interrupts (Intel SDM vol. 3, chapter 7).</summary>
internal sealed partial class Vcpu
{
    private bool _shutdown;

    /// <summary>Where an event comes from.</summary>
    internal enum Source
    {
        /// <summary>INTR or the local APIC, or NMI.</summary>
        External,

        /// <summary>A fault, trap or abort of the processor.</summary>
        Exception,

        /// <summary>INT n, INT3 or INTO: the gate's DPL is checked.</summary>
        Software,

        /// <summary>INT1 (ICEBP): a privileged software exception, no DPL check.</summary>
        Icebp,
    }

    /// <summary>Delivers the fault recorded in the state; what fails on the way makes a double fault, and then a shutdown.</summary>
    private void DeliverFault()
    {
        var vector = S.FaultVector;
        var error = S.FaultError;
        S.FaultVector = -1;
        Counters.Exceptions++;
        // A fault's pushed flags have RF set, so that a breakpoint on the instruction does not fire again.
        if (vector != Vector.DB) S.SystemFlags |= Flags.RF;
        DeliverException(vector, error);
    }

    /// <summary>Delivers an exception now, at the current RIP.</summary>
    public void DeliverException(int vector, uint error)
    {
        while (!TryDeliver(vector, error, HasErrorCode(vector), Source.Exception))
        {
            var (second, secondError) = (S.FaultVector, S.FaultError);
            S.FaultVector = -1;
            _taskSwitched = false;
            if (vector == Vector.DF)
            {
                _shutdown = true;
                return;
            }

            (vector, error) = IsDouble(vector, second) ? (Vector.DF, 0) : (second, secondError);
        }
    }

    /// <summary>Delivers an external interrupt or NMI between two instructions.</summary>
    private void DeliverInterrupt(int vector)
    {
        Counters.Interrupts++;
        if (TryDeliver(vector, 0, false, Source.External)) return;
        var (second, error) = (S.FaultVector, S.FaultError);
        S.FaultVector = -1;
        _taskSwitched = false;
        DeliverException(second, error);
    }

    /// <summary>
    /// Goes through the IDT (or the real-mode vector table). False, with a fault recorded and RIP, CS, SS, RSP and flags
    /// unchanged, when that fails. <see cref="CpuState.Rip"/> is the return address.
    /// </summary>
    public bool TryDeliver(int vector, uint error, bool hasError, Source source)
    {
        _delivering = true;
        var done = !ProtectedMode ? TryDeliverReal(vector) : LongMode ? TryDeliverLong(vector, error, hasError, source) : TryDeliverProtected(vector, error, hasError, source);
        _delivering = false;
        if (done) _trap = false;
        return done;
    }

    private static bool HasErrorCode(int vector) => vector is Vector.DF or Vector.TS or Vector.NP or Vector.SS or Vector.GP or Vector.PF or Vector.AC;

    private static bool IsDouble(int first, int second)
    {
        static bool Contributory(int v) => v is Vector.DE or Vector.TS or Vector.NP or Vector.SS or Vector.GP;
        return (Contributory(first) && Contributory(second)) || (first == Vector.PF && (Contributory(second) || second == Vector.PF));
    }

    private bool TryDeliverReal(int vector)
    {
        if ((uint)(vector * 4 + 3) > S.IdtLimit) return Raise(Vector.GP, 0);
        if (!TryReadSystem<uint>((uint)(S.IdtBase + (uint)vector * 4), out var entry)) return false;
        if (!TryPoke<ushort>(unchecked((ulong)-2), (ushort)S.Rflags) ||
            !TryPoke<ushort>(unchecked((ulong)-4), S.Seg[1].Selector) ||
            !TryPoke<ushort>(unchecked((ulong)-6), (ushort)S.Rip)) return false;
        AdjustStack(unchecked((ulong)-6));
        S.SystemFlags &= ~(Flags.IF | Flags.TF | Flags.AC | Flags.RF);
        S.Seg[1].Selector = (ushort)(entry >> 16);
        S.Seg[1].Base = entry >> 16 << 4;
        S.Rip = (ushort)entry;
        UpdateMode();
        return true;
    }

    // Error codes of faults met while delivering: the IDT bit and, for events from outside the program, EXT.
    private static uint GateError(int vector, Source source) => (uint)vector * 8 + 2 + (source is Source.Software ? 0u : 1);

    private bool TryDeliverLong(int vector, uint error, bool hasError, Source source)
    {
        var ext = source is Source.Software ? 0u : 1;
        if ((uint)(vector * 16 + 15) > S.IdtLimit) return Raise(Vector.GP, GateError(vector, source));
        if (!TryReadSystem<ulong>(S.IdtBase + (uint)vector * 16, out var low) || !TryReadSystem<ulong>(S.IdtBase + (uint)vector * 16 + 8, out var high)) return false;
        var type = (int)(low >> 40) & 0x1F;
        if (type is not (0xE or 0xF)) return Raise(Vector.GP, GateError(vector, source));
        if (source == Source.Software && ((low >> 45) & 3) < (uint)S.Cpl) return Raise(Vector.GP, GateError(vector, source));
        if ((low >> 47 & 1) == 0) return Raise(Vector.NP, GateError(vector, source));
        var selector = (ushort)(low >> 16);
        var target = (low & 0xFFFF) | ((low >> 32) & 0xFFFF0000) | (high << 32);
        if ((selector & ~3) == 0) return Raise(Vector.GP, ext);
        if (!TryReadDescriptor(selector, out var descriptor))
        {
            if (S.FaultVector == Vector.GP) S.FaultError |= ext;
            return false;
        }

        var code = Unpack(selector, descriptor);
        if ((code.Attributes & 0x18) != 0x18 || code.Dpl > S.Cpl || (code.Attributes & 0x6000) != 0x2000) return Raise(Vector.GP, (selector & 0xFFFCu) | ext);
        if (!code.IsPresent) return Raise(Vector.NP, (selector & 0xFFFCu) | ext);
        var conforming = (code.Attributes & 4) != 0;
        var cpl = conforming ? S.Cpl : code.Dpl;
        var ist = (int)(low >> 32) & 7;
        ulong rsp;
        if (cpl < S.Cpl || ist != 0)
        {
            var offset = ist != 0 ? 36 + (ist - 1) * 8 : 4 + cpl * 8;
            if ((uint)offset + 7 > S.Seg[7].Limit) return Raise(Vector.TS, (S.Seg[7].Selector & 0xFFFCu) | ext);
            if (!TryReadSystem(S.Seg[7].Base + (uint)offset, out rsp)) return false;
            if (!IsCanonical(rsp)) return Raise(Vector.SS, ext);
        }
        else
        {
            rsp = Gpr(4);
        }

        if (!IsCanonical(target)) return Raise(Vector.GP, ext);
        var oldCpl = S.Cpl;
        rsp &= ~15UL;
        var view = cpl == 3 ? Tlb.User : Tlb.Supervisor;
        var flags = S.Rflags;
        if (source == Source.External) flags &= ~Flags.RF;
        var ok = TryWriteView(rsp - 8, (ulong)S.Seg[2].Selector, view) && TryWriteView(rsp - 16, Gpr(4), view) && TryWriteView(rsp - 24, flags, view)
            && TryWriteView(rsp - 32, (ulong)S.Seg[1].Selector, view) && TryWriteView(rsp - 40, S.Rip, view) && (!hasError || TryWriteView(rsp - 48, (ulong)error, view));
        if (!ok)
        {
            if (S.FaultVector == Vector.GP) Raise(Vector.SS, ext);
            return false;
        }

        if (!TryMarkAccessed(selector, descriptor, ref code)) return false;
        Gpr(4) = rsp - (hasError ? 48u : 40u);
        if (cpl < oldCpl) S.Seg[2] = Null((ushort)cpl);
        S.Rip = target;
        S.SystemFlags &= ~(Flags.TF | Flags.NT | Flags.RF | Flags.VM | (type == 0xE ? Flags.IF : 0));
        SetCode(code, cpl);
        return true;
    }

    private bool TryDeliverProtected(int vector, uint error, bool hasError, Source source)
    {
        var ext = source is Source.Software ? 0u : 1;
        if ((uint)(vector * 8 + 7) > S.IdtLimit) return Raise(Vector.GP, GateError(vector, source));
        if (!TryReadSystem<ulong>((uint)(S.IdtBase + (uint)vector * 8), out var gate)) return false;
        var type = (int)(gate >> 40) & 0x1F;
        if (type is not (5 or 6 or 7 or 0xE or 0xF)) return Raise(Vector.GP, GateError(vector, source));
        if (source == Source.Software && ((gate >> 45) & 3) < (uint)S.Cpl) return Raise(Vector.GP, GateError(vector, source));
        if ((gate >> 47 & 1) == 0) return Raise(Vector.NP, GateError(vector, source));
        var selector = (ushort)(gate >> 16);
        if (type == 5) return TryDeliverTask(selector, error, hasError, ext);
        var wide = type >= 0xE;
        var target = wide ? (uint)((gate & 0xFFFF) | ((gate >> 32) & 0xFFFF0000)) : (uint)(gate & 0xFFFF);
        if ((selector & ~3) == 0) return Raise(Vector.GP, ext);
        if (!TryReadDescriptor(selector, out var descriptor))
        {
            if (S.FaultVector == Vector.GP) S.FaultError |= ext;
            return false;
        }

        var code = Unpack(selector, descriptor);
        if ((code.Attributes & 0x18) != 0x18 || code.Dpl > S.Cpl) return Raise(Vector.GP, (selector & 0xFFFCu) | ext);
        if (!code.IsPresent) return Raise(Vector.NP, (selector & 0xFFFCu) | ext);
        var conforming = (code.Attributes & 4) != 0;
        if (!conforming && code.Dpl < S.Cpl) return TryDeliverInner(selector, descriptor, code, target, wide, type, error, hasError, ext);
        if (Vm86) return Raise(Vector.GP, (selector & 0xFFFCu) | ext);
        if (target > code.Limit) return Raise(Vector.GP, ext);
        var flags = S.Rflags;
        var size = wide ? 4u : 2u;
        var frame = hasError ? 4u : 3u;
        if (!TryPokeSized(wide, 0 - size, (uint)flags) || !TryPokeSized(wide, 0 - 2 * size, S.Seg[1].Selector) || !TryPokeSized(wide, 0 - 3 * size, (uint)S.Rip)
            || (hasError && !TryPokeSized(wide, 0 - 4 * size, error)))
        {
            if (S.FaultVector == Vector.SS) S.FaultError |= ext;
            return false;
        }

        if (!TryMarkAccessed(selector, descriptor, ref code)) return false;
        AdjustStack(0UL - frame * size);
        S.Rip = target;
        S.SystemFlags &= ~(Flags.TF | Flags.NT | Flags.RF | Flags.VM | ((type & 1) == 0 ? Flags.IF : 0));
        SetCode(code, S.Cpl);
        return true;
    }

    private bool TryDeliverInner(ushort selector, ulong descriptor, SegmentState code, uint target, bool wide, int type, uint error, bool hasError, uint ext)
    {
        var cpl = code.Dpl;
        var vm86 = Vm86;
        if (vm86 && cpl != 0) return Raise(Vector.GP, (selector & 0xFFFCu) | ext);
        if (!TryReadInnerStack(cpl, ext, out var ss, out var esp)) return false;
        if (!TryReadStackDescriptor(ss, cpl, Vector.TS, out var stack))
        {
            S.FaultError |= S.FaultVector == Vector.PF ? 0 : ext;
            return false;
        }

        if (target > code.Limit) return Raise(Vector.GP, ext);
        var before = (S.Seg[2], Gpr(4), S.StackMask, S.Cpl, S.SystemFlags, S.Seg[1]);
        var flags = (uint)S.Rflags;
        S.Seg[2] = stack;
        S.StackMask = (stack.Attributes & 0x4000) != 0 ? uint.MaxValue : 0xFFFFu;
        Gpr(4) = esp;
        S.Cpl = cpl;
        S.SystemFlags &= ~Flags.VM;
        UpdateView();
        var size = wide ? 4u : 2u;
        ulong at = 0;
        bool Push(uint value) => TryPokeSized(wide, at -= size, value);
        var ok = !vm86 || (Push(S.Seg[5].Selector) && Push(S.Seg[4].Selector) && Push(S.Seg[3].Selector) && Push(S.Seg[0].Selector));
        ok = ok && Push(before.Item1.Selector) && Push((uint)before.Item2) && Push(flags) && Push(before.Item6.Selector) && Push((uint)S.Rip) && (!hasError || Push(error));
        ok = ok && TryMarkAccessed(selector, descriptor, ref code);
        if (!ok)
        {
            if (S.FaultVector == Vector.SS) S.FaultError = (ss & 0xFFFCu) | ext;
            (S.Seg[2], Gpr(4), S.StackMask, S.Cpl, S.SystemFlags, S.Seg[1]) = before;
            UpdateView();
            return false;
        }

        AdjustStack(at);
        if (vm86) (S.Seg[0], S.Seg[3], S.Seg[4], S.Seg[5]) = (Null(0), Null(0), Null(0), Null(0));
        S.Rip = target;
        S.SystemFlags &= ~(Flags.TF | Flags.NT | Flags.RF | Flags.VM | ((type & 1) == 0 ? Flags.IF : 0));
        SetCode(code, cpl);
        return true;
    }

    /// <summary>The stack for an inner privilege level, from a 16- or 32-bit TSS.</summary>
    public bool TryReadInnerStack(int cpl, uint ext, out ushort ss, out uint esp)
    {
        (ss, esp) = (0, 0);
        ref var tr = ref S.Seg[7];
        var wide = (tr.Attributes & 8) != 0;
        var offset = wide ? 4 + cpl * 8 : 2 + cpl * 4;
        if ((uint)offset + (wide ? 5u : 3u) > tr.Limit) return Raise(Vector.TS, (tr.Selector & 0xFFFCu) | ext);
        if (wide)
        {
            if (!TryReadSystem(Linear(tr.Base + (uint)offset), out esp) || !TryReadSystem(Linear(tr.Base + (uint)offset + 4), out ss)) return false;
        }
        else
        {
            if (!TryReadSystem<ushort>(Linear(tr.Base + (uint)offset), out var sp) || !TryReadSystem(Linear(tr.Base + (uint)offset + 2), out ss)) return false;
            esp = sp;
        }

        return (ss & ~3) != 0 || Raise(Vector.TS, ext);
    }

    private bool TryPokeSized(bool wide, ulong offset, uint value) => wide ? TryPoke(offset, value) : TryPoke(offset, (ushort)value);

    private bool TryDeliverTask(ushort selector, uint error, bool hasError, uint ext)
    {
        if ((selector & 4) != 0) return Raise(Vector.GP, (selector & 0xFFFCu) | ext);
        if (!TryReadDescriptor(selector, out var descriptor)) return false;
        if (((descriptor >> 40) & 0x17) != 1) return Raise(Vector.GP, (selector & 0xFFFCu) | ext);
        if ((descriptor >> 47 & 1) == 0) return Raise(Vector.NP, (selector & 0xFFFCu) | ext);
        if (!TrySwitchTask(selector, descriptor, TaskSwitch.Gate)) return false;
        if (hasError && !((S.Seg[7].Attributes & 8) != 0 ? TryPush(error) : TryPush((ushort)error))) return false;
        if ((S.Seg[7].Attributes & 8) != 0 && TaskTrap()) return false;
        return true;
    }
}
