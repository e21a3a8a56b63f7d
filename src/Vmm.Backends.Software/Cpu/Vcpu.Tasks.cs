using Vmm.Core.X86;

namespace Vmm.Backends.Software.Cpu;

/// <summary>Hardware task switching (Intel SDM vol. 3, chapter 9).</summary>
internal sealed partial class Vcpu
{
    private bool _taskSwitched;

    private static readonly int[] s_tssSegmentOrder = [0, 1, 2, 3, 4, 5];

    /// <summary>What caused a task switch.</summary>
    internal enum TaskSwitch
    {
        /// <summary>JMP to a TSS or task gate.</summary>
        Jump,

        /// <summary>CALL.</summary>
        Call,

        /// <summary>An interrupt or exception through a task gate.</summary>
        Gate,

        /// <summary>IRET with NT set.</summary>
        Return,
    }

    /// <summary>
    /// Saves the current task, at <see cref="CpuState.Rip"/>, and loads that of a checked, present TSS descriptor. Faults
    /// before the commit point leave the old task; later ones (#TS, #NP, #SS on the new task's segments) belong to the new.
    /// </summary>
    public bool TrySwitchTask(ushort selector, ulong descriptor, TaskSwitch cause)
    {
        var next = Unpack(selector, descriptor);
        var wide = (next.Attributes & 8) != 0;
        if (next.Limit < (wide ? 0x67u : 0x2Bu)) return Raise(Vector.TS, selector & 0xFFFCu);
        Span<uint> registers = stackalloc uint[10];
        Span<ushort> segments = stackalloc ushort[6];
        segments.Clear();
        if (!TryReadTask(next.Base, wide, registers, segments, out var ldt, out var cr3)) return false;
        var old = S.Seg[7];
        var oldWide = (old.Attributes & 8) != 0;
        var flags = (uint)S.Rflags;
        if (cause == TaskSwitch.Return) flags &= ~(uint)Flags.NT;
        if (!TrySaveTask(old.Base, oldWide, flags)) return false;
        if (cause is TaskSwitch.Jump or TaskSwitch.Return && !TrySetBusy(old.Selector, false)) return false;
        if (cause != TaskSwitch.Return && !TrySetBusy(selector, true)) return false;
        if (cause is TaskSwitch.Call or TaskSwitch.Gate && !TryWriteSystem((uint)next.Base, old.Selector)) return false;
        next.Attributes |= 2;
        S.Seg[7] = next;
        S.Cr0 |= ControlBits.Cr0Ts;
        var newFlags = registers[1] | (cause is TaskSwitch.Call or TaskSwitch.Gate ? (uint)Flags.NT : 0);
        S.Rip = registers[0];
        S.SetArithmetic(newFlags);
        S.SystemFlags = (newFlags & Flags.Defined & ~Flags.Arithmetic) | 2;
        for (var i = 0; i < 8; i++) Gpr(i) = wide ? registers[2 + i] : (Gpr(i) & 0xFFFF0000) | (ushort)registers[2 + i];
        S.Dr[7] &= ~0x155UL;
        _trap = false;
        _taskSwitched = true;
        UpdateMode();
        if (wide && (S.Cr0 & ControlBits.Cr0Pg) != 0 && !TrySetCr3(cr3)) return Raise(Vector.TS, selector & 0xFFFCu);
        if (!TryLoadTaskSegments(segments, ldt)) return false;
        // The T flag of the new TSS: a debug trap before the new task's first instruction. Of an event, its error code comes first.
        if (wide && cause != TaskSwitch.Gate && TaskTrap()) return false;
        _taskSwitched = false;
        return true;
    }

    private bool TaskTrap()
    {
        if (!TryReadSystem<ushort>((uint)(S.Seg[7].Base + 100), out var trap)) return true;
        if ((trap & 1) == 0) return false;
        _taskSwitched = true;
        S.Dr[6] |= Dr6Task;
        Raise(Vector.DB, 0);
        return true;
    }

    /// <summary>Whether the last task switch failed only after the new task was in place; asked once.</summary>
    public bool TakeTaskSwitched()
    {
        var switched = _taskSwitched;
        _taskSwitched = false;
        return switched;
    }

    private bool TryReadTask(ulong start, bool wide, Span<uint> registers, Span<ushort> segments, out ushort ldt, out uint cr3)
    {
        (ldt, cr3) = (0, 0);
        if (wide)
        {
            if (!TryReadSystem((uint)(start + 28), out cr3)) return false;
            for (var i = 0; i < 10; i++)
            {
                if (!TryReadSystem((uint)(start + 32 + (uint)i * 4), out registers[i])) return false;
            }

            for (var i = 0; i < 6; i++)
            {
                if (!TryReadSystem((uint)(start + 72 + (uint)i * 4), out segments[i])) return false;
            }

            return TryReadSystem((uint)(start + 96), out ldt);
        }

        for (var i = 0; i < 10; i++)
        {
            if (!TryReadSystem<ushort>((uint)(start + 14 + (uint)i * 2), out var value)) return false;
            registers[i] = value;
        }

        for (var i = 0; i < 4; i++)
        {
            if (!TryReadSystem((uint)(start + 34 + (uint)i * 2), out segments[i])) return false;
        }

        return TryReadSystem((uint)(start + 42), out ldt);
    }

    private bool TrySaveTask(ulong start, bool wide, uint flags)
    {
        if (wide)
        {
            var ok = TryWriteSystem((uint)(start + 32), (uint)S.Rip) && TryWriteSystem((uint)(start + 36), flags);
            for (var i = 0; ok && i < 8; i++) ok = TryWriteSystem((uint)(start + 40 + (uint)i * 4), (uint)Gpr(i));
            for (var i = 0; ok && i < 6; i++) ok = TryWriteSystem((uint)(start + 72 + (uint)i * 4), S.Seg[i].Selector);
            return ok;
        }

        var done = TryWriteSystem((uint)(start + 14), (ushort)S.Rip) && TryWriteSystem((uint)(start + 16), (ushort)flags);
        for (var i = 0; done && i < 8; i++) done = TryWriteSystem((uint)(start + 18 + (uint)i * 2), (ushort)Gpr(i));
        for (var i = 0; done && i < 4; i++) done = TryWriteSystem((uint)(start + 34 + (uint)i * 2), S.Seg[i].Selector);
        return done;
    }

    private bool TrySetBusy(ushort selector, bool busy)
    {
        if (!TryReadDescriptor(selector, out var descriptor)) return false;
        return TryWriteDescriptor(selector, busy ? descriptor | 2UL << 40 : descriptor & ~(2UL << 40));
    }

    private bool TryLoadTaskSegments(ReadOnlySpan<ushort> segments, ushort ldt)
    {
        for (var i = 0; i < 6; i++) S.Seg[i] = Null(segments[i]);
        S.Seg[6] = Null(ldt);
        if ((S.SystemFlags & Flags.VM) != 0)
        {
            foreach (var i in s_tssSegmentOrder) S.Seg[i] = new SegmentState((ulong)segments[i] << 4, 0xFFFF, segments[i], 0xF3);
            S.Cpl = 3;
            UpdateMode();
            return true;
        }

        S.Cpl = segments[1] & 3;
        UpdateMode();
        var ldtError = ldt & 0xFFFCu;
        if (ldtError != 0)
        {
            if ((ldt & 4) != 0 || !TryReadDescriptor(ldt, out var descriptor, Vector.TS)) return Raise(Vector.TS, ldtError);
            if (((descriptor >> 40) & 0x1F) != 2 || (descriptor >> 47 & 1) == 0) return Raise(Vector.TS, ldtError);
            S.Seg[6] = Unpack(ldt, descriptor);
        }

        var codeError = segments[1] & 0xFFFCu;
        if (codeError == 0) return Raise(Vector.TS, 0);
        if (!TryReadDescriptor(segments[1], out var codeDescriptor, Vector.TS)) return false;
        var code = Unpack(segments[1], codeDescriptor);
        var conforming = (code.Attributes & 4) != 0;
        if ((code.Attributes & 0x18) != 0x18 || (conforming ? code.Dpl > S.Cpl : code.Dpl != S.Cpl)) return Raise(Vector.TS, codeError);
        if (!code.IsPresent) return Raise(Vector.NP, codeError);
        if (!TryMarkAccessed(segments[1], codeDescriptor, ref code)) return false;
        SetCode(code, S.Cpl);
        if (!TryLoadStackSegment(segments[2], S.Cpl, Vector.TS)) return false;
        foreach (var i in s_tssSegmentOrder)
        {
            if (i is 1 or 2) continue;
            if (TryLoadSegment(i, segments[i])) continue;
            if (S.FaultVector == Vector.GP) S.FaultVector = Vector.TS;
            return false;
        }

        return S.Rip <= S.Seg[1].Limit || Raise(Vector.GP, 0);
    }
}
