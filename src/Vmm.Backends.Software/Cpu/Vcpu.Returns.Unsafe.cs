using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Mmu;
using Vmm.Core.X86;

namespace Vmm.Backends.Software.Cpu;

/// <summary>What translated code has to know of system calls and returns from interrupts, so that it can do them by itself.</summary>
internal sealed unsafe partial class Vcpu
{
    /// <summary>LGDT, or a new state.</summary>
    public void SetGdt(ulong start, uint limit)
    {
        ref var s = ref S;
        (s.GdtBase, s.GdtLimit) = (start, limit);
        s.Translator.UserReturn.CodeSelector = s.Translator.KernelReturn.CodeSelector = 1;
    }

    /// <summary>
    /// After an IRET from level 0 of 64-bit code: its descriptors, if they can be read again without any effect, are good for the next one
    /// to the same selectors.
    /// </summary>
    public void NoteReturn()
    {
        ref var s = ref S;
        if (_executor is null || !Code64 || s.Cpl is not (0 or 3)) return;
        ref var record = ref s.Cpl == 3 ? ref s.Translator.UserReturn : ref s.Translator.KernelReturn;
        var (code, stack) = (s.Seg[1], s.Seg[2]);
        if (record.CodeSelector + code.Selector != 0 || !IsSame(record.CodeAddress, record.CodeDescriptor))
        {
            record.CodeSelector = record.StackSelector = 1;
            if (!TryFindAgain(code, out record.CodeAddress, out record.CodeDescriptor)) return;
            (record.CodeSelector, record.Code) = (0UL - code.Selector, Rest(code));
        }

        // A null SS needs no record.
        if (stack.Selector == 0 || (record.StackSelector + stack.Selector == 0 && IsSame(record.StackAddress, record.StackDescriptor))) return;
        record.StackSelector = 1;
        if (TryFindAgain(stack, out record.StackAddress, out record.StackDescriptor)) (record.StackSelector, record.Stack) = (0UL - stack.Selector, Rest(stack));
    }

    private bool IsSame(ulong address, ulong negated) => TryGlance(address, out var descriptor) && descriptor + negated == 0;

    // The descriptor that a flat segment was loaded from.
    private bool TryFindAgain(in SegmentState segment, out ulong address, out ulong negated)
    {
        address = S.GdtBase + (segment.Selector & 0xFFF8u);
        negated = 0;
        if ((segment.Selector & 4) != 0 || segment.Base != 0 || !TryGlance(address, out var descriptor) || Unpack(segment.Selector, descriptor) != segment) return false;
        negated = 0 - descriptor;
        return true;
    }

    // What the TLB covers can be read without anyone noticing.
    private bool TryGlance(ulong linear, out ulong value)
    {
        ref var entry = ref _tlb.Reads(Tlb.System)[Tlb.Slot(linear)];
        var covered = Covers<ulong>(ref entry, linear);
        value = covered ? At<ulong>(ref entry, linear) : 0;
        return covered;
    }

    // What SYSCALL and SYSRET load, by STAR, SFMASK and EFER.
    private void UpdateCalls()
    {
        ref var s = ref S;
        ref var t = ref s.Translator;
        // Behind a SYSCALL that left AC set, another view of memory would hold.
        t.CallsOff = (s.Efer & ControlBits.EferSce) != 0 && (s.Fmask & Flags.AC) != 0 ? 0 : 1;
        t.SyscallMask = ~(s.Fmask | Flags.RF) | 2;
        var (call, back) = ((ushort)(s.Star >> 32 & 0xFFFC), (ushort)(s.Star >> 48));
        (t.SyscallCode, t.SyscallStack) = (Rest(SegmentState.Code64(call)), Rest(SegmentState.Data32((ushort)(call + 8))));
        t.SysretCode = Rest(SegmentState.Code64((ushort)((back + 16) | 3)) with { Attributes = 0xA0FB });
        t.SysretStack = Rest(SegmentState.Data32((ushort)((back + 8) | 3)) with { Attributes = 0xC0F3 });
    }

    // Limit, selector and attributes, as they lie in memory behind the base.
    private static ulong Rest(in SegmentState segment) => segment.Limit | (ulong)segment.Selector << 32 | (ulong)segment.Attributes << 48;
}
