using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>Segment registers and descriptor tables.</summary>
internal static class SegmentOps
{
    // MOV from a segment register: a 16-bit store, or a zero-extended register. Extra is the segment.
    public static ref Op StoreToRegister(Vcpu cpu, ref Op op)
    {
        var selector = cpu.Seg(op.Extra).Selector;
        if (op.Size == 2) cpu.Reg<ushort>(op.A) = selector;
        else cpu.Reg<ulong>(op.A) = selector;
        return ref Vcpu.Next(ref op);
    }

    public static ref Op StoreToMemory(Vcpu cpu, ref Op op)
    {
        if (!cpu.TryStore(ref op, cpu.Seg(op.Extra).Selector)) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    public static ref Op LoadFromRegister(Vcpu cpu, ref Op op) => ref Load(cpu, ref op, cpu.Reg<ushort>(op.B));

    public static ref Op LoadFromMemory(Vcpu cpu, ref Op op)
    {
        if (!cpu.TryLoad<ushort>(ref op, out var selector)) return ref cpu.Fault(ref op);
        return ref Load(cpu, ref op, selector);
    }

    private static ref Op Load(Vcpu cpu, ref Op op, ushort selector)
    {
        if (!cpu.TryLoadSegment(op.Extra, selector)) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    public static ref Op Push(Vcpu cpu, ref Op op)
    {
        var selector = cpu.Seg(op.A).Selector;
        var done = op.Size switch { 2 => cpu.TryPush(selector), 4 => cpu.TryPush((uint)selector), _ => cpu.TryPush((ulong)selector) };
        if (!done) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    public static ref Op Pop(Vcpu cpu, ref Op op)
    {
        if (!cpu.TryPeek<ushort>(0, out var selector)) return ref cpu.Fault(ref op);
        var mask = cpu.S.StackMask;
        if (!cpu.TryLoadSegment(op.A, selector)) return ref cpu.Fault(ref op);
        (mask, cpu.S.StackMask) = (cpu.S.StackMask, mask);
        cpu.AdjustStack(op.Size);
        cpu.S.StackMask = mask;
        return ref Vcpu.Next(ref op);
    }

    // LDS, LES, LFS, LGS, LSS: Extra is the segment, Size that of the offset.
    public static ref Op LoadPointer(Vcpu cpu, ref Op op)
    {
        if (!FarOps.TryLoadPointer(cpu, ref op, out var selector, out var offset) || !cpu.TryLoadSegment(op.Extra, selector)) return ref cpu.Fault(ref op);
        switch (op.Size)
        {
            case 2: cpu.Reg<ushort>(op.A) = (ushort)offset; break;
            case 4: cpu.SetReg(op.A, (uint)offset); break;
            default: cpu.Reg<ulong>(op.A) = offset; break;
        }

        return ref Vcpu.Next(ref op);
    }

    // SGDT and SIDT: Extra is 1 for the IDT.
    public static ref Op StoreTable(Vcpu cpu, ref Op op)
    {
        if (Umip(cpu)) return ref cpu.Fault(ref op, Vector.GP);
        ref var s = ref cpu.S;
        var (start, limit) = op.Extra == 0 ? (s.GdtBase, s.GdtLimit) : (s.IdtBase, s.IdtLimit);
        var size = cpu.Code64 ? 10 : 6;
        if (!cpu.TryLinear(ref op, size, Mmu.Access.Write, out var linear) || !(cpu.TryProbeWrite(linear, size) || cpu.StackFault(ref op))) return ref cpu.Fault(ref op);
        cpu.TryWrite(linear, (ushort)limit);
        if (cpu.Code64) cpu.TryWrite(linear + 2, start);
        else cpu.TryWrite(linear + 2, (uint)start);
        return ref Vcpu.Next(ref op);
    }

    // LGDT and LIDT: Extra is 1 for the IDT, Size 2 where only 24 bits of the base count.
    public static ref Op LoadTable(Vcpu cpu, ref Op op)
    {
        if (cpu.S.Cpl != 0) return ref cpu.Fault(ref op, Vector.GP);
        if (!cpu.TryLinear(ref op, cpu.Code64 ? 10 : 6, Mmu.Access.Read, out var linear) || !(cpu.TryRead<ushort>(linear, out var limit) || cpu.StackFault(ref op))) return ref cpu.Fault(ref op);
        ulong start;
        if (cpu.Code64)
        {
            if (!cpu.TryRead(linear + 2, out start)) return ref cpu.Fault(ref op);
            if (!cpu.IsCanonical(start)) return ref cpu.Fault(ref op, Vector.GP);
        }
        else
        {
            if (!cpu.TryRead<uint>(linear + 2, out var narrow)) return ref cpu.Fault(ref op);
            start = op.Size == 2 ? narrow & 0xFFFFFF : narrow;
        }

        ref var s = ref cpu.S;
        if (op.Extra == 0) cpu.SetGdt(start, limit);
        else (s.IdtBase, s.IdtLimit) = (start, limit);
        return ref Vcpu.Next(ref op);
    }

    // SLDT and STR: Extra is 6 or 7.
    public static ref Op StoreSystemRegister(Vcpu cpu, ref Op op)
    {
        if (!cpu.ProtectedMode || cpu.Vm86) return ref cpu.Fault(ref op, Vector.UD);
        if (Umip(cpu)) return ref cpu.Fault(ref op, Vector.GP);
        return ref StoreToRegister(cpu, ref op);
    }

    public static ref Op StoreSystemMemory(Vcpu cpu, ref Op op)
    {
        if (!cpu.ProtectedMode || cpu.Vm86) return ref cpu.Fault(ref op, Vector.UD);
        if (Umip(cpu)) return ref cpu.Fault(ref op, Vector.GP);
        return ref StoreToMemory(cpu, ref op);
    }

    public static ref Op LoadSystem(Vcpu cpu, ref Op op)
    {
        if (!cpu.ProtectedMode || cpu.Vm86) return ref cpu.Fault(ref op, Vector.UD);
        if (cpu.S.Cpl != 0) return ref cpu.Fault(ref op, Vector.GP);
        if (!TrySelector(cpu, ref op, out var selector)) return ref cpu.Fault(ref op);
        if (!(op.Extra == 6 ? TryLoadLdt(cpu, selector) : TryLoadTask(cpu, selector))) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    private static bool TrySelector(Vcpu cpu, ref Op op, out ushort selector)
    {
        if (op.D == 1) return cpu.TryLoad(ref op, out selector);
        selector = cpu.Reg<ushort>(op.A);
        return true;
    }

    private static bool TryLoadLdt(Vcpu cpu, ushort selector)
    {
        if ((selector & ~3) == 0)
        {
            cpu.Seg(6) = Vcpu.Null(selector);
            return true;
        }

        return TryLoadSystemSegment(cpu, 6, selector, 2, false);
    }

    private static bool TryLoadTask(Vcpu cpu, ushort selector) =>
        (selector & ~3) == 0 ? cpu.Raise(Vector.GP, 0) : TryLoadSystemSegment(cpu, 7, selector, 9, true);

    private static bool TryLoadSystemSegment(Vcpu cpu, int register, ushort selector, int type, bool busy)
    {
        var error = selector & 0xFFFCu;
        if ((selector & 4) != 0) return cpu.Raise(Vector.GP, error);
        if (!cpu.TryReadDescriptor(selector, out var descriptor)) return false;
        var found = (int)(descriptor >> 40) & 0x1F;
        if (found != type && !(busy && found == 1 && !cpu.LongMode)) return cpu.Raise(Vector.GP, error);
        if ((descriptor >> 47 & 1) == 0) return cpu.Raise(Vector.NP, error);
        var loaded = Vcpu.Unpack(selector, descriptor);
        if (cpu.LongMode)
        {
            if (!cpu.TryReadUpperDescriptor(selector, out var upper)) return false;
            loaded.Base |= upper << 32;
            if (((upper >> 40) & 0x1F) != 0 || !cpu.IsCanonical(loaded.Base)) return cpu.Raise(Vector.GP, error);
        }

        if (busy)
        {
            if (!cpu.TryWriteDescriptor(selector, descriptor | 2UL << 40)) return false;
            loaded.Attributes |= 2;
        }

        cpu.Seg(register) = loaded;
        return true;
    }

    // LAR, LSL, VERR, VERW: Extra is 0 to 3. They never fault on the selector: ZF tells.
    public static ref Op Verify(Vcpu cpu, ref Op op)
    {
        if (!cpu.ProtectedMode || cpu.Vm86) return ref cpu.Fault(ref op, Vector.UD);
        ushort selector;
        // D is 1 for a memory operand.
        if (op.D == 1)
        {
            if (!cpu.TryLoad(ref op, out selector)) return ref cpu.Fault(ref op);
        }
        else
        {
            selector = cpu.Reg<ushort>(op.Extra >= 2 ? op.A : op.B);
        }

        var ok = (selector & ~3) != 0;
        ulong descriptor = 0;
        if (ok && !cpu.TryReadDescriptor(selector, out descriptor))
        {
            if (cpu.S.FaultVector == Vector.PF) return ref cpu.Fault(ref op);
            cpu.S.FaultVector = -1;
            ok = false;
        }

        var type = (int)(descriptor >> 40) & 0x1F;
        var dpl = (int)(descriptor >> 45) & 3;
        var conforming = (type & 0x1C) == 0x1C;
        ok &= conforming || (cpu.S.Cpl <= dpl && (selector & 3) <= dpl);
        ok &= op.Extra switch
        {
            0 => (type & 0x10) != 0 || (cpu.LongMode ? type is 2 or 9 or 0xB or 0xC : type is 1 or 2 or 3 or 4 or 5 or 9 or 0xB or 0xC),
            1 => (type & 0x10) != 0 || (cpu.LongMode ? type is 2 or 9 or 0xB : type is 1 or 2 or 3 or 9 or 0xB),
            2 => (type & 0x10) != 0 && (type & 0xA) != 8,
            _ => (type & 0x1A) == 0x12,
        };
        cpu.S.ZF = ok;
        if (ok && op.Extra < 2)
        {
            var value = op.Extra == 0 ? (uint)(descriptor >> 32) & 0x00FFFF00 : Vcpu.Unpack(selector, descriptor).Limit;
            switch (op.Size)
            {
                case 2: cpu.Reg<ushort>(op.A) = (ushort)value; break;
                default: cpu.SetReg(op.A, value); break;
            }
        }

        return ref Vcpu.Next(ref op);
    }

    public static ref Op AdjustRpl(Vcpu cpu, ref Op op)
    {
        if (!cpu.ProtectedMode || cpu.Vm86) return ref cpu.Fault(ref op, Vector.UD);
        if (op.D == 1)
        {
            var wanted = cpu.Reg<ushort>(op.A) & 3;
            ushort after;
            bool less;
            Cell cell;
            ushort before;
            do
            {
                if (!cpu.TryBeginUpdate(ref op, out before, out cell)) return ref cpu.Fault(ref op);
                less = (before & 3) < wanted;
                after = less ? (ushort)((before & ~3) | wanted) : before;
            }
            while (!cpu.EndUpdate(ref op, cell, before, after));
            cpu.S.ZF = less;
            return ref Vcpu.Next(ref op);
        }

        ref var target = ref cpu.Reg<ushort>(op.A);
        var rpl = cpu.Reg<ushort>(op.B) & 3;
        cpu.S.ZF = (target & 3) < rpl;
        if (cpu.S.ZF) target = (ushort)((target & ~3) | rpl);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>Whether user-mode instruction prevention stops SGDT, SIDT, SLDT, SMSW and STR.</summary>
    public static bool Umip(Vcpu cpu) => cpu.S.Cpl != 0 && (cpu.S.Cr4 & ControlBits.Cr4Umip) != 0;
}
