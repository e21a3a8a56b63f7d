using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Core.X86;

namespace Vmm.Backends.Software.Interpret;

/// <summary>Far jumps, calls and returns, interrupts by instruction, and IRET (Intel SDM vol. 2; vol. 3, 6.8 and 7.12).</summary>
internal static partial class FarOps
{
    private static ref Op JumpPointer(Vcpu cpu, ref Op op) => ref Finish(cpu, ref op, TryJump(cpu, op.Extra, op.Imm, cpu.RipAfter(ref op)));

    private static ref Op CallPointer(Vcpu cpu, ref Op op) => ref Finish(cpu, ref op, TryCall(cpu, op.Extra, op.Imm, op.Size, cpu.RipAfter(ref op)));

    private static ref Op JumpMemory(Vcpu cpu, ref Op op)
    {
        if (!TryLoadPointer(cpu, ref op, out var selector, out var offset)) return ref cpu.Fault(ref op);
        return ref Finish(cpu, ref op, TryJump(cpu, selector, offset, cpu.RipAfter(ref op)));
    }

    private static ref Op CallMemory(Vcpu cpu, ref Op op)
    {
        if (!TryLoadPointer(cpu, ref op, out var selector, out var offset)) return ref cpu.Fault(ref op);
        return ref Finish(cpu, ref op, TryCall(cpu, selector, offset, op.Size, cpu.RipAfter(ref op)));
    }

    private static ref Op Return(Vcpu cpu, ref Op op) => ref Finish(cpu, ref op, TryReturn(cpu, op.Size, op.Imm));

    private static ref Op InterruptReturn(Vcpu cpu, ref Op op)
    {
        // A task return saves this address, so it must be right before anything else happens.
        cpu.S.Rip = cpu.RipAfter(ref op);
        var done = TryInterruptReturn(cpu, op.Size);
        if (done) cpu.NmiBlocked = false;
        if (done) cpu.InterruptsChanged();
        return ref Finish(cpu, ref op, done);
    }

    private static ref Op SoftwareInterrupt(Vcpu cpu, ref Op op)
    {
        if (cpu.Vm86)
        {
            // The redirection bitmap is asked first, whatever IOPL is; only what is not redirected is sensitive to IOPL.
            if (!cpu.TryRedirectVm86((byte)op.Imm, cpu.RipAfter(ref op), out var redirected)) return ref cpu.Fault(ref op);
            if (redirected) return ref Vcpu.Leave();
            if (cpu.Iopl < 3) return ref cpu.Fault(ref op, Vector.GP);
        }

        return ref Interrupt(cpu, ref op, (byte)op.Imm, Vcpu.Source.Software);
    }

    private static ref Op Breakpoint(Vcpu cpu, ref Op op) => ref Interrupt(cpu, ref op, Vector.BP, Vcpu.Source.Software);

    private static ref Op DebugInterrupt(Vcpu cpu, ref Op op) => ref Interrupt(cpu, ref op, Vector.DB, Vcpu.Source.Icebp);

    private static ref Op Overflow(Vcpu cpu, ref Op op)
    {
        if (!cpu.S.OF)
        {
            cpu.S.Rip = cpu.Wrap(cpu.RipAfter(ref op));
            return ref cpu.Continue();
        }

        return ref Interrupt(cpu, ref op, Vector.OF, Vcpu.Source.Software);
    }

    private static ref Op Interrupt(Vcpu cpu, ref Op op, int vector, Vcpu.Source source)
    {
        cpu.S.Rip = cpu.RipAfter(ref op);
        return ref Finish(cpu, ref op, cpu.TryDeliver(vector, 0, false, source));
    }

    private static ref Op Finish(Vcpu cpu, ref Op op, bool done)
    {
        if (done) return ref cpu.Continue();
        // A fault met after a task switch was committed belongs to the new task's first instruction.
        if (cpu.TakeTaskSwitched()) return ref Vcpu.Leave();
        return ref cpu.Fault(ref op);
    }

    /// <summary>Reads a far pointer operand: an offset of <see cref="Op.Size"/> bytes, then a selector.</summary>
    public static bool TryLoadPointer(Vcpu cpu, ref Op op, out ushort selector, out ulong offset)
    {
        (selector, offset) = (0, 0);
        if (!cpu.TryLinear(ref op, op.Size + 2, Mmu.Access.Read, out var linear)) return false;
        switch (op.Size)
        {
            case 2:
                if (!cpu.TryRead<ushort>(linear, out var narrow)) return false;
                offset = narrow;
                break;
            case 4:
                if (!cpu.TryRead<uint>(linear, out var wide)) return false;
                offset = wide;
                break;
            default:
                if (!cpu.TryRead(linear, out offset)) return false;
                break;
        }

        return cpu.TryRead(linear + op.Size, out selector);
    }

    private static bool TryRealTransfer(Vcpu cpu, ushort selector, ulong offset)
    {
        ref var s = ref cpu.S;
        if (offset > s.Seg[1].Limit) return cpu.Raise(Vector.GP, 0);
        s.Seg[1].Selector = selector;
        s.Seg[1].Base = (ulong)selector << 4;
        if (cpu.Vm86) (s.Seg[1].Limit, s.Seg[1].Attributes) = (0xFFFF, 0xFB);
        s.Rip = offset;
        cpu.UpdateMode();
        return true;
    }

    // Loads CS:RIP of a code segment with the privilege it has been checked for.
    private static bool TryEnterCode(Vcpu cpu, ushort selector, ulong descriptor, ulong offset, int cpl)
    {
        var code = Vcpu.Unpack(selector, descriptor);
        var error = selector & 0xFFFCu;
        if (!code.IsPresent) return cpu.Raise(Vector.NP, error);
        var code64 = cpu.LongMode && (code.Attributes & 0x2000) != 0;
        if (code64 ? !cpu.IsCanonical(offset) : offset > code.Limit) return cpu.Raise(Vector.GP, 0);
        if (!cpu.TryMarkAccessed(selector, descriptor, ref code)) return false;
        cpu.SetCode(code, cpl);
        cpu.S.Rip = offset;
        return true;
    }

    private static bool IsBadLongCode(Vcpu cpu, ulong descriptor) => cpu.LongMode && ((descriptor >> 53) & 3) == 3;

    private static bool CheckCode(Vcpu cpu, ushort selector, ulong descriptor)
    {
        var dpl = (int)(descriptor >> 45) & 3;
        var conforming = (descriptor & 1UL << 42) != 0;
        var ok = conforming ? dpl <= cpu.S.Cpl : (selector & 3) <= cpu.S.Cpl && dpl == cpu.S.Cpl;
        return (ok && !IsBadLongCode(cpu, descriptor)) || cpu.Raise(Vector.GP, selector & 0xFFFCu);
    }

    private static bool TryJump(Vcpu cpu, ushort selector, ulong offset, ulong back)
    {
        if (!cpu.ProtectedMode || cpu.Vm86) return TryRealTransfer(cpu, selector, offset);
        if ((selector & ~3) == 0) return cpu.Raise(Vector.GP, 0);
        if (!cpu.TryReadDescriptor(selector, out var descriptor)) return false;
        var type = (int)(descriptor >> 40) & 0x1F;
        if ((type & 0x18) == 0x18)
        {
            return CheckCode(cpu, selector, descriptor) && TryEnterCode(cpu, selector, descriptor, offset, cpu.S.Cpl);
        }

        var error = selector & 0xFFFCu;
        var dpl = (int)(descriptor >> 45) & 3;
        if (dpl < cpu.S.Cpl || dpl < (selector & 3)) return cpu.Raise(Vector.GP, error);
        switch (type)
        {
            case 1 or 9 when !cpu.LongMode:
                if ((descriptor >> 47 & 1) == 0) return cpu.Raise(Vector.NP, error);
                cpu.S.Rip = back;
                return cpu.TrySwitchTask(selector, descriptor, Vcpu.TaskSwitch.Jump);
            case 5 when !cpu.LongMode:
                cpu.S.Rip = back;
                return TryTaskGate(cpu, selector, descriptor, Vcpu.TaskSwitch.Jump);
            case 0xC:
            case 4 when !cpu.LongMode:
                if (!TryGate(cpu, selector, descriptor, type, out var codeSelector, out var code, out var target, out _)) return false;
                return CheckCode(cpu, (ushort)(codeSelector & ~3), code) && TryEnterCode(cpu, codeSelector, code, target, cpu.S.Cpl);
            default:
                return cpu.Raise(Vector.GP, error);
        }
    }

    private static bool TryTaskGate(Vcpu cpu, ushort selector, ulong gate, Vcpu.TaskSwitch cause)
    {
        if ((gate >> 47 & 1) == 0) return cpu.Raise(Vector.NP, selector & 0xFFFCu);
        var tss = (ushort)(gate >> 16);
        if ((tss & 4) != 0) return cpu.Raise(Vector.GP, tss & 0xFFFCu);
        if (!cpu.TryReadDescriptor(tss, out var descriptor)) return false;
        if (((descriptor >> 40) & 0x17) != 1) return cpu.Raise(Vector.GP, tss & 0xFFFCu);
        if ((descriptor >> 47 & 1) == 0) return cpu.Raise(Vector.NP, tss & 0xFFFCu);
        return cpu.TrySwitchTask(tss, descriptor, cause);
    }

    // A call gate's target: checked to be a code segment of at most the current privilege level.
    private static bool TryGate(Vcpu cpu, ushort selector, ulong gate, int type, out ushort codeSelector, out ulong code, out ulong target, out int parameters)
    {
        codeSelector = (ushort)(gate >> 16);
        (code, parameters) = (0, (int)(gate >> 32) & 0x1F);
        target = type == 0xC ? (gate & 0xFFFF) | ((gate >> 32) & 0xFFFF0000) : gate & 0xFFFF;
        if (cpu.LongMode)
        {
            if (!cpu.TryReadUpperDescriptor(selector, out var upper)) return false;
            if (((upper >> 40) & 0x1F) != 0) return cpu.Raise(Vector.GP, selector & 0xFFFCu);
            target |= upper << 32;
        }

        if ((gate >> 47 & 1) == 0) return cpu.Raise(Vector.NP, selector & 0xFFFCu);
        if ((codeSelector & ~3) == 0) return cpu.Raise(Vector.GP, 0);
        if (!cpu.TryReadDescriptor(codeSelector, out code)) return false;
        var error = codeSelector & 0xFFFCu;
        if (((code >> 43) & 3) != 3 || ((int)(code >> 45) & 3) > cpu.S.Cpl) return cpu.Raise(Vector.GP, error);
        if (cpu.LongMode && ((code >> 53) & 3) != 1) return cpu.Raise(Vector.GP, error);
        return (code >> 47 & 1) != 0 || cpu.Raise(Vector.NP, error);
    }

    private static bool TryPushSized(Vcpu cpu, int size, ulong offset, ulong value) => size switch
    {
        2 => cpu.TryPoke(offset, (ushort)value),
        4 => cpu.TryPoke(offset, (uint)value),
        _ => cpu.TryPoke(offset, value),
    };

    private static bool TryPeekSized(Vcpu cpu, int size, ulong offset, out ulong value)
    {
        switch (size)
        {
            case 2:
                var ok = cpu.TryPeek<ushort>(offset, out var narrow);
                value = narrow;
                return ok;
            case 4:
                ok = cpu.TryPeek<uint>(offset, out var wide);
                value = wide;
                return ok;
            default:
                return cpu.TryPeek(offset, out value);
        }
    }

    private static bool TryCall(Vcpu cpu, ushort selector, ulong offset, int size, ulong back)
    {
        var bytes = (ulong)size;
        if (!cpu.ProtectedMode || cpu.Vm86)
        {
            if (offset > cpu.S.Seg[1].Limit) return cpu.Raise(Vector.GP, 0);
            if (!TryPushSized(cpu, size, 0 - bytes, cpu.S.Seg[1].Selector) || !TryPushSized(cpu, size, 0 - 2 * bytes, back)) return false;
            cpu.AdjustStack(0 - 2 * bytes);
            return TryRealTransfer(cpu, selector, offset);
        }

        if ((selector & ~3) == 0) return cpu.Raise(Vector.GP, 0);
        if (!cpu.TryReadDescriptor(selector, out var descriptor)) return false;
        var type = (int)(descriptor >> 40) & 0x1F;
        var error = selector & 0xFFFCu;
        if ((type & 0x18) == 0x18)
        {
            if (!CheckCode(cpu, selector, descriptor)) return false;
            return TryCallSame(cpu, selector, descriptor, offset, size, back);
        }

        var dpl = (int)(descriptor >> 45) & 3;
        if (dpl < cpu.S.Cpl || dpl < (selector & 3)) return cpu.Raise(Vector.GP, error);
        switch (type)
        {
            case 1 or 9 when !cpu.LongMode:
                if ((descriptor >> 47 & 1) == 0) return cpu.Raise(Vector.NP, error);
                cpu.S.Rip = back;
                return cpu.TrySwitchTask(selector, descriptor, Vcpu.TaskSwitch.Call);
            case 5 when !cpu.LongMode:
                cpu.S.Rip = back;
                return TryTaskGate(cpu, selector, descriptor, Vcpu.TaskSwitch.Call);
            case 0xC:
            case 4 when !cpu.LongMode:
                if (!TryGate(cpu, selector, descriptor, type, out var codeSelector, out var code, out var target, out var parameters)) return false;
                var gateSize = cpu.LongMode ? 8 : type == 0xC ? 4 : 2;
                var codeDpl = (int)(code >> 45) & 3;
                if ((code & 1UL << 42) != 0 || codeDpl == cpu.S.Cpl) return TryCallSame(cpu, codeSelector, code, target, gateSize, back);
                return cpu.LongMode ? TryCallInnerLong(cpu, codeSelector, code, target, back) : TryCallInner(cpu, codeSelector, code, target, gateSize, parameters, back);
            default:
                return cpu.Raise(Vector.GP, error);
        }
    }

    private static bool TryCallSame(Vcpu cpu, ushort selector, ulong descriptor, ulong offset, int size, ulong back)
    {
        var bytes = (ulong)size;
        var oldSelector = cpu.S.Seg[1].Selector;
        var before = (cpu.S.Seg[1], cpu.S.Rip, cpu.S.StackMask);
        // The pushes use the old mode's stack size; the checks of the target come first.
        var code = Vcpu.Unpack(selector, descriptor);
        if (!code.IsPresent) return cpu.Raise(Vector.NP, selector & 0xFFFCu);
        if (!TryPushSized(cpu, size, 0 - bytes, oldSelector) || !TryPushSized(cpu, size, 0 - 2 * bytes, back)) return false;
        if (!TryEnterCode(cpu, selector, descriptor, offset, cpu.S.Cpl))
        {
            (cpu.S.Seg[1], cpu.S.Rip, cpu.S.StackMask) = before;
            return false;
        }

        var mask = cpu.S.StackMask;
        cpu.S.StackMask = before.StackMask;
        cpu.AdjustStack(0 - 2 * bytes);
        cpu.S.StackMask = mask;
        return true;
    }

    private static bool TryCallInner(Vcpu cpu, ushort selector, ulong descriptor, ulong target, int size, int parameters, ulong back)
    {
        ref var s = ref cpu.S;
        var bytes = (ulong)size;
        var cpl = (int)(descriptor >> 45) & 3;
        if (!cpu.TryReadInnerStack(cpl, 0, out var ss, out var esp)) return false;
        if (!cpu.TryReadStackDescriptor(ss, cpl, Vector.TS, out var stack)) return false;
        Span<ulong> words = stackalloc ulong[32];
        for (var i = 0; i < parameters; i++)
        {
            if (!TryPeekSized(cpu, size, (ulong)i * bytes, out words[i])) return false;
        }

        var before = (s.Seg[2], cpu.Gpr(4), s.StackMask, s.Cpl, s.Seg[1], s.Rip);
        s.Seg[2] = stack;
        s.StackMask = (stack.Attributes & 0x4000) != 0 ? uint.MaxValue : 0xFFFFu;
        cpu.Gpr(4) = esp;
        s.Cpl = cpl;
        cpu.UpdateView();
        var at = 0 - bytes;
        var ok = TryPushSized(cpu, size, at, before.Item1.Selector) && TryPushSized(cpu, size, at -= bytes, before.Item2);
        for (var i = parameters - 1; ok && i >= 0; i--) ok = TryPushSized(cpu, size, at -= bytes, words[i]);
        ok = ok && TryPushSized(cpu, size, at -= bytes, before.Item5.Selector) && TryPushSized(cpu, size, at -= bytes, back);
        if (ok && TryEnterCode(cpu, selector, descriptor, target, cpl))
        {
            cpu.AdjustStack(at);
            return true;
        }

        if (!ok && s.FaultVector == Vector.SS) s.FaultError = ss & 0xFFFCu;
        (s.Seg[2], cpu.Gpr(4), s.StackMask, s.Cpl, s.Seg[1], s.Rip) = before;
        cpu.UpdateView();
        return false;
    }

    private static bool TryCallInnerLong(Vcpu cpu, ushort selector, ulong descriptor, ulong target, ulong back)
    {
        ref var s = ref cpu.S;
        var cpl = (int)(descriptor >> 45) & 3;
        if ((uint)(4 + cpl * 8 + 7) > s.Seg[7].Limit) return cpu.Raise(Vector.TS, s.Seg[7].Selector & 0xFFFCu);
        if (!cpu.TryReadSystem<ulong>(s.Seg[7].Base + (uint)(4 + cpl * 8), out var rsp)) return false;
        if (!cpu.IsCanonical(rsp)) return cpu.Raise(Vector.SS, 0);
        var before = (s.Seg[2], cpu.Gpr(4), s.Cpl, s.Seg[1], s.Rip, s.StackMask);
        cpu.Gpr(4) = rsp;
        s.Cpl = cpl;
        s.StackMask = ulong.MaxValue;
        cpu.UpdateView();
        var ok = TryPushSized(cpu, 8, unchecked((ulong)-8), before.Item1.Selector) && TryPushSized(cpu, 8, unchecked((ulong)-16), before.Item2)
            && TryPushSized(cpu, 8, unchecked((ulong)-24), before.Item4.Selector) && TryPushSized(cpu, 8, unchecked((ulong)-32), back);
        if (ok && TryEnterCode(cpu, selector, descriptor, target, cpl))
        {
            cpu.Gpr(4) = rsp - 32;
            s.Seg[2] = Vcpu.Null((ushort)cpl);
            cpu.UpdateMode();
            return true;
        }

        (s.Seg[2], cpu.Gpr(4), s.Cpl, s.Seg[1], s.Rip, s.StackMask) = before;
        cpu.UpdateMode();
        return false;
    }

    private static bool TryReturn(Vcpu cpu, int size, ulong release)
    {
        ref var s = ref cpu.S;
        var bytes = (ulong)size;
        if (!TryPeekSized(cpu, size, 0, out var rip) || !TryPeekSized(cpu, size, bytes, out var cs)) return false;
        var selector = (ushort)cs;
        if (!cpu.ProtectedMode || cpu.Vm86)
        {
            if (!TryRealTransfer(cpu, selector, rip)) return false;
            cpu.AdjustStack(2 * bytes + release);
            return true;
        }

        if (!TryReturnCode(cpu, selector, out var descriptor)) return false;
        var rpl = selector & 3;
        if (rpl == s.Cpl)
        {
            var mask = s.StackMask;
            if (!TryEnterCode(cpu, selector, descriptor, rip, rpl)) return false;
            var newMask = s.StackMask;
            s.StackMask = mask;
            cpu.AdjustStack(2 * bytes + release);
            s.StackMask = newMask;
            return true;
        }

        if (!TryPeekSized(cpu, size, 2 * bytes + release, out var rsp) || !TryPeekSized(cpu, size, 3 * bytes + release, out var ss)) return false;
        return TryReturnOuter(cpu, selector, descriptor, rip, (ushort)ss, rsp, release);
    }

    // The code segment that a RET or IRET returns to.
    private static bool TryReturnCode(Vcpu cpu, ushort selector, out ulong descriptor)
    {
        descriptor = 0;
        if ((selector & ~3) == 0) return cpu.Raise(Vector.GP, 0);
        if (!cpu.TryReadDescriptor(selector, out descriptor)) return false;
        var dpl = (int)(descriptor >> 45) & 3;
        var rpl = selector & 3;
        var error = selector & 0xFFFCu;
        var conforming = (descriptor & 1UL << 42) != 0;
        if (((descriptor >> 43) & 3) != 3 || rpl < cpu.S.Cpl || (conforming ? dpl > rpl : dpl != rpl) || IsBadLongCode(cpu, descriptor)) return cpu.Raise(Vector.GP, error);
        return (descriptor >> 47 & 1) != 0 || cpu.Raise(Vector.NP, error);
    }

    private static bool TryReturnOuter(Vcpu cpu, ushort selector, ulong descriptor, ulong rip, ushort ss, ulong rsp, ulong release)
    {
        ref var s = ref cpu.S;
        var cpl = selector & 3;
        var code64 = cpu.LongMode && (descriptor & 1UL << 53) != 0;
        SegmentState stack;
        if ((ss & ~3) == 0)
        {
            if (!code64 || cpl == 3) return cpu.Raise(Vector.GP, 0);
            stack = Vcpu.Null(ss);
        }
        else if (!cpu.TryReadStackDescriptor(ss, cpl, Vector.GP, out stack))
        {
            return false;
        }

        if (!TryEnterCode(cpu, selector, descriptor, rip, cpl)) return false;
        s.Seg[2] = stack;
        cpu.DropPrivilegedSegments();
        cpu.UpdateMode();
        cpu.Gpr(4) = s.StackMask == 0xFFFF ? (cpu.Gpr(4) & ~0xFFFFUL) | (ushort)rsp : rsp & s.StackMask;
        cpu.AdjustStack(release);
        return true;
    }

    private static bool TryInterruptReturn(Vcpu cpu, int size)
    {
        ref var s = ref cpu.S;
        var bytes = (ulong)size;
        if (!cpu.ProtectedMode || cpu.Vm86) return TryInterruptReturnReal(cpu, size);
        if ((s.SystemFlags & Flags.NT) != 0)
        {
            if (cpu.LongMode) return cpu.Raise(Vector.GP, 0);
            if (!cpu.TryReadSystem<ushort>(cpu.Linear(s.Seg[7].Base), out var link)) return false;
            if ((link & 4) != 0) return cpu.Raise(Vector.TS, link & 0xFFFCu);
            if (!cpu.TryReadDescriptor(link, out var tss, Vector.TS)) return false;
            if (((tss >> 40) & 0x17) != 3) return cpu.Raise(Vector.TS, link & 0xFFFCu);
            if ((tss >> 47 & 1) == 0) return cpu.Raise(Vector.NP, link & 0xFFFCu);
            return cpu.TrySwitchTask(link, tss, Vcpu.TaskSwitch.Return);
        }

        if (!TryPeekSized(cpu, size, 0, out var rip) || !TryPeekSized(cpu, size, bytes, out var cs) || !TryPeekSized(cpu, size, 2 * bytes, out var flags)) return false;
        if ((flags & Flags.VM) != 0 && s.Cpl == 0 && size == 4 && !cpu.LongMode) return TryReturnToVm86(cpu, rip, (ushort)cs, (uint)flags);
        var selector = (ushort)cs;
        var oldCpl = s.Cpl;
        var wasLong = cpu.Code64;
        if (!TryReturnCode(cpu, selector, out var descriptor)) return false;
        if (wasLong || (selector & 3) != oldCpl)
        {
            if (!TryPeekSized(cpu, size, 3 * bytes, out var rsp) || !TryPeekSized(cpu, size, 4 * bytes, out var ss)) return false;
            var iopl = cpu.Iopl;
            if ((selector & 3) == oldCpl)
            {
                // 64-bit IRET loads SS:RSP even within one level.
                if (!TryReturnSameLong(cpu, selector, descriptor, rip, (ushort)ss, rsp)) return false;
            }
            else if (!TryReturnOuter(cpu, selector, descriptor, rip, (ushort)ss, rsp, 0))
            {
                return false;
            }

            WriteFlags(cpu, flags, oldCpl, iopl, size);
            if (wasLong && oldCpl == 0) cpu.NoteReturn();
            return true;
        }

        var mask = s.StackMask;
        if (!TryEnterCode(cpu, selector, descriptor, rip, oldCpl)) return false;
        (mask, s.StackMask) = (s.StackMask, mask);
        cpu.AdjustStack(3 * bytes);
        s.StackMask = mask;
        WriteFlags(cpu, flags, oldCpl, cpu.Iopl, size);
        return true;
    }

    private static bool TryReturnSameLong(Vcpu cpu, ushort selector, ulong descriptor, ulong rip, ushort ss, ulong rsp)
    {
        var code64 = (descriptor & 1UL << 53) != 0;
        SegmentState stack;
        if ((ss & ~3) == 0)
        {
            if (!code64 || cpu.S.Cpl == 3 || (ss & 3) != cpu.S.Cpl) return cpu.Raise(Vector.GP, 0);
            stack = Vcpu.Null(ss);
        }
        else if (!cpu.TryReadStackDescriptor(ss, cpu.S.Cpl, Vector.GP, out stack))
        {
            return false;
        }

        if (!TryEnterCode(cpu, selector, descriptor, rip, cpu.S.Cpl)) return false;
        cpu.S.Seg[2] = stack;
        cpu.UpdateMode();
        cpu.Gpr(4) = cpu.S.StackMask == 0xFFFF ? (cpu.Gpr(4) & ~0xFFFFUL) | (ushort)rsp : rsp & cpu.S.StackMask;
        return true;
    }

    /// <summary>Loads RFLAGS as IRET and POPF may: IOPL only at level 0, IF only up to IOPL.</summary>
    private static void WriteFlags(Vcpu cpu, ulong flags, int cpl, int iopl, int size)
    {
        var writable = Flags.Defined & ~(Flags.VM | Flags.VIF | Flags.VIP | Flags.IOPL | Flags.IF);
        if (cpl == 0) writable |= Flags.IOPL | Flags.VIF | Flags.VIP;
        if (cpl <= iopl) writable |= Flags.IF;
        if (size == 2) writable &= 0xFFFF;
        ref var s = ref cpu.S;
        s.SetArithmetic(flags);
        s.SystemFlags = (s.SystemFlags & ~writable) | (flags & writable & ~Flags.Arithmetic) | 2;
        cpu.UpdateMode();
    }

    private static bool TryInterruptReturnReal(Vcpu cpu, int size)
    {
        ref var s = ref cpu.S;
        var bytes = (ulong)size;
        if (cpu.Vm86 && cpu.Iopl < 3)
        {
            if ((s.Cr4 & ControlBits.Cr4Vme) == 0 || size != 2) return cpu.Raise(Vector.GP, 0);
        }

        if (!TryPeekSized(cpu, size, 0, out var ip) || !TryPeekSized(cpu, size, bytes, out var cs) || !TryPeekSized(cpu, size, 2 * bytes, out var flags)) return false;
        var virtualIf = cpu.Vm86 && cpu.Iopl < 3;
        if (virtualIf && ((flags & Flags.TF) != 0 || ((flags & Flags.IF) != 0 && (s.SystemFlags & Flags.VIP) != 0))) return cpu.Raise(Vector.GP, 0);
        if (!TryRealTransfer(cpu, (ushort)cs, ip)) return false;
        cpu.AdjustStack(3 * bytes);
        if (virtualIf)
        {
            s.SystemFlags = (s.SystemFlags & ~Flags.VIF) | ((flags & Flags.IF) != 0 ? Flags.VIF : 0);
            flags = (flags & ~(Flags.IF | Flags.IOPL)) | (s.SystemFlags & (Flags.IF | Flags.IOPL));
            WriteFlags(cpu, flags, 3, 0, 2);
            return true;
        }

        WriteFlags(cpu, cpu.Vm86 ? (flags & ~Flags.IOPL) | (s.SystemFlags & Flags.IOPL) : flags, cpu.Vm86 ? 3 : 0, 3, size);
        return true;
    }

    private static bool TryReturnToVm86(Vcpu cpu, ulong ip, ushort cs, uint flags)
    {
        ref var s = ref cpu.S;
        Span<ulong> words = stackalloc ulong[6];
        for (var i = 0; i < 6; i++)
        {
            if (!TryPeekSized(cpu, 4, (ulong)(12 + i * 4), out words[i])) return false;
        }

        s.SetArithmetic(flags);
        s.SystemFlags = (flags & Flags.Defined & ~Flags.Arithmetic) | 2;
        s.Cpl = 3;
        Span<ushort> selectors = [(ushort)words[2], cs, (ushort)words[1], (ushort)words[3], (ushort)words[4], (ushort)words[5]];
        for (var i = 0; i < 6; i++) s.Seg[i] = new SegmentState((ulong)selectors[i] << 4, 0xFFFF, selectors[i], 0xF3);
        s.Rip = (ushort)ip;
        cpu.Gpr(4) = (uint)words[0];
        cpu.UpdateMode();
        return true;
    }
}
