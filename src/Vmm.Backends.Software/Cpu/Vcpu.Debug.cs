using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Cpu;

/// <summary>Single step and debug registers (Intel SDM vol. 3, chapter 18).</summary>
internal sealed partial class Vcpu
{
    private const ulong Dr6Detected = 1 << 13, Dr6Single = 1 << 14, Dr6Task = 1 << 15, Dr7GeneralDetect = 1 << 13;
    private const ulong Dr6Ones = 0xFFFF0FF0, Dr7Ones = 0x400;

    private int _dataHits;
    private bool _trap;

    /// <summary>
    /// TF decides now whether this instruction ends in a single-step trap: its value before the instruction, but for SYSCALL
    /// and SYSRET the one after it. An event that is delivered takes the trap away.
    /// </summary>
    public void SampleTrap() => _trap = (S.SystemFlags & Flags.TF) != 0;

    private bool DataBreakpointsOn
    {
        get
        {
            var dr7 = S.Dr[7];
            for (var i = 0; i < 4; i++)
            {
                if ((dr7 >> (i * 2) & 3) != 0 && (dr7 >> (16 + i * 4) & 1) != 0) return true;
            }

            return false;
        }
    }

    /// <summary>Whether MOV may touch a debug register now; DR4 and DR5 are DR6 and DR7 unless CR4.DE is set.</summary>
    public bool TryDebugAccess(int number, out int register)
    {
        register = number is 4 or 5 ? number + 2 : number;
        if (S.Cpl != 0) return Raise(Vector.GP, 0);
        if (number > 7 || (number is 4 or 5 && (S.Cr4 & ControlBits.Cr4De) != 0)) return Raise(Vector.UD, 0);
        if ((S.Dr[7] & Dr7GeneralDetect) == 0) return true;
        S.Dr[7] &= ~Dr7GeneralDetect;
        S.Dr[6] |= Dr6Detected;
        UpdateMode();
        return Raise(Vector.DB, 0);
    }

    /// <summary>MOV to a debug register. False: #GP(0).</summary>
    public bool TrySetDebug(int register, ulong value)
    {
        if (register >= 6 && value >> 32 != 0) return false;
        S.Dr[register] = register switch
        {
            6 => (value & 0xE00F) | Dr6Ones,
            7 => (value & 0xFFFF2BFF) | Dr7Ones,
            _ => value,
        };
        UpdateMode();
        return true;
    }

    // An enabled execute breakpoint at RIP is a fault, unless RF says that it was taken already.
    private bool InstructionBreakpoint()
    {
        var resume = (S.SystemFlags & Flags.RF) != 0;
        S.SystemFlags &= ~Flags.RF;
        if (resume) return false;
        var linear = S.Rip + S.Seg[1].Base;
        var hits = 0;
        var enabled = false;
        for (var i = 0; i < 4; i++)
        {
            if ((S.Dr[7] >> (16 + i * 4) & 3) != 0 || S.Dr[i] != linear) continue;
            hits |= 1 << i;
            enabled |= (S.Dr[7] >> (i * 2) & 3) != 0;
        }

        if (!enabled) return false;
        S.Dr[6] = (S.Dr[6] & ~15UL) | (uint)hits;
        Raise(Vector.DB, 0);
        return true;
    }

    // Data breakpoints and single step are traps: the instruction is done.
    private void AfterStep()
    {
        var trap = _trap;
        if (!trap && _dataHits == 0) return;
        S.Dr[6] = (S.Dr[6] & ~15UL) | (uint)_dataHits | (trap ? Dr6Single : 0);
        Raise(Vector.DB, 0);
    }

    // Alignment (#AC) and data breakpoints, where they are on.
    private bool CheckedAccess(ulong linear, int size, Access access)
    {
        if (S.Cpl == 3 && (S.SystemFlags & Flags.AC) != 0 && (S.Cr0 & ControlBits.Cr0Am) != 0 && size is 2 or 4 or 8 && (linear & (uint)(size - 1)) != 0)
        {
            return Raise(Vector.AC, 0);
        }

        for (var i = 0; i < 4; i++)
        {
            var type = (int)(S.Dr[7] >> (16 + i * 4)) & 3;
            if ((S.Dr[7] >> (i * 2) & 3) == 0 || (type & 1) == 0 || (type == 1 && access != Access.Write)) continue;
            var length = (S.Dr[7] >> (18 + i * 4) & 3) switch { 0 => 1u, 1 => 2u, 2 => 8u, _ => 4u };
            var start = S.Dr[i] & ~(ulong)(length - 1);
            if (linear < start + length && start < linear + (uint)size) _dataHits |= 1 << i;
        }

        return true;
    }

    /// <summary>MONITOR checks its address like a load of one byte.</summary>
    public bool TryReadMonitored(ref Op op)
    {
        var linear = (op.Flags & OpFlags.Address64) != 0 ? Gpr(0) : (op.Flags & OpFlags.Address32) != 0 ? (uint)Gpr(0) : (ushort)Gpr(0);
        if (Code64) linear += op.Segment >= 4 ? S.Seg[op.Segment].Base : 0;
        else if (!TrySegment(op.Segment, linear, 1, Access.Read, out linear)) return false;
        return TryRead<byte>(linear, out _);
    }
}
