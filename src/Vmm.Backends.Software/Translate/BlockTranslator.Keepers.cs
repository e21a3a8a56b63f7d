using Iced.Intel;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// Hot code in which nothing else needs R14, RCX and R15 keeps in them what up to three groups add to their addresses, with a register of the guest's that does
/// not change if the addresses have two: then an access is one instruction, as it was for the guest.
/// </summary>
internal sealed unsafe partial class BlockTranslator
{
    // By group: the register, and the part of the address that is in it (-1 for none).
    private readonly (int Register, int Part)[] _keepers = new (int, int)[3];

    private bool _keeps;

    // What an operand's address has beside a base and a displacement.
    private int _indexRegister, _indexScale;

    private void PlanKeepers(int count)
    {
        _keeps = false;
        if (!IsHot || _plan.Count == 0 || _plan.Count > (_counted ? 1 : 3)) return;
        // Vector registers are looked for at the entry only.
        // SAFETY: blocks of translations live as long as these.
        if (_kinds.AsSpan(0, count).Contains(RelocatableKind.Vector) && !_kinds.AsSpan(0, _translations[0].Block->Count).Contains(RelocatableKind.Vector)) return;
        var written = 0;
        for (var i = 0; i < count; i++)
        {
            if (!LeavesKeepers(i)) return;
            written |= (int)_uses.Written(_instructions[i]);
        }

        // The budget takes two of them. R15 is needed to load parts from the state.
        var free = _counted ? 1 << Addend : 1 << Linear | 1 << Rcx | 1 << Addend;
        for (var pass = 0; pass < 2; pass++)
        {
            for (var g = 0; g < _plan.Count; g++)
            {
                if (_entryWindows[g] < 0 || !TryKeepPart(g, written, out var part)) return;
                var loads = part >= 0 && HostOf(part) < 0;
                if (loads != (pass == 0)) continue;
                var register = (free & 1 << Linear) != 0 ? Linear : (free & 1 << Rcx) != 0 ? Rcx : Addend;
                if (loads && register == Addend) return;
                free &= ~(1 << register);
                _keepers[g] = (register, part);
            }
        }

        _keeps = true;
    }

    private bool TryKeepPart(int g, int written, out int part)
    {
        part = -1;
        var (first, index, scale) = AccessPlan.Parts(_plan[g].Key);
        if (first >= AccessPlan.FsBase) return false;
        if (index < 0) return true;
        if (first >= 0 && (written & 1 << first) == 0) part = first;
        else if (first >= 0 && scale == 1 && (written & 1 << index) == 0) part = index;
        else if (first >= 0) return false;
        return HostOf(part == index ? first : index) >= 0;
    }

    // Whether an instruction needs none of the registers, and its address can be given by one of them.
    private bool LeavesKeepers(int i)
    {
        ref var instruction = ref _instructions[i];
        switch (_kinds[i])
        {
            case RelocatableKind.Nothing: return true;
            case RelocatableKind.Branch:
                return instruction.Code is Code.Jmp_rel8_64 or Code.Jmp_rel32_64
                    || (instruction.ConditionCode != ConditionCode.None && instruction.Op0Kind == OpKind.NearBranch64 && instruction.Mnemonic is not (Mnemonic.Loope or Mnemonic.Loopne or Mnemonic.Loop));
            case RelocatableKind.Stack when instruction.Mnemonic == Mnemonic.Lea:
                return HostOf(Number(instruction.Op0Register)) >= 0 && IsResident(instruction.MemoryBase) && IsResident(instruction.MemoryIndex);
            case RelocatableKind.Integer when !IsShiftByCount(instruction):
            case RelocatableKind.Vector:
                break;
            default: return false;
        }

        for (var operand = 0; operand < instruction.OpCount; operand++)
        {
            if (instruction.GetOpKind(operand) == OpKind.Register)
            {
                var register = instruction.GetOpRegister(operand);
                if (IsHighByte(register) || !IsResident(register)) return false;
            }
            else if (instruction.GetOpKind(operand) == OpKind.Memory && !IsKeepable(i))
            {
                return false;
            }
        }

        return true;
    }

    private static bool IsResident(Register register) => Number(register) is var number && (number < 0 || HostOf(number) >= 0);

    // The registers of an address must be those that its group is known by; where there is one, or none, the host's own is added to what the instruction has.
    private bool IsKeepable(int i)
    {
        ref var instruction = ref _instructions[i];
        var group = _plan.Of(i, 0).Group;
        if (group < 0 || !_plan[group].AtEntry || (long)instruction.MemoryDisplacement64 != (int)instruction.MemoryDisplacement64) return false;
        var (first, index, _) = AccessPlan.Parts(_plan[group].Key);
        if (index < 0) return instruction.MemoryIndex == Register.None && IsResident(instruction.MemoryBase);
        return Number(instruction.MemoryBase) == first && Number(instruction.MemoryIndex) == index && (first >= 0 || instruction.MemoryBase == Register.None);
    }

    private void EmitKeepers()
    {
        if (!_keeps) return;
        for (var g = 0; g < _plan.Count; g++)
        {
            var (register, part) = _keepers[g];
            if (register != Addend) EmitKeeper(g, register, part);
        }

        for (var g = 0; g < _plan.Count; g++)
        {
            if (_keepers[g].Register == Addend) EmitKeeper(g, Addend, _keepers[g].Part);
        }
    }

    private void EmitKeeper(int g, int register, int part)
    {
        _e.Load(register, StateLayout.Window(_entryWindows[g]) + StateLayout.WindowAddend);
        if (part >= 0) _e.Lea(register, register, Resident(part, Addend), 1, 0);
    }

    // The operand by its group's register.
    private bool TryKept(in Instruction instruction)
    {
        if (!_keeps) return false;
        var group = _plan.Of(_first + _index, 0).Group;
        if (_checked[group] != _barrier) return false;
        var (register, part) = _keepers[group];
        var (first, index, scale) = AccessPlan.Parts(_plan[group].Key);
        _displacement = (int)instruction.MemoryDisplacement64;
        if (index >= 0 && part == first) (_base, _indexRegister, _indexScale) = (register, HostOf(index), scale);
        else (_base, _indexRegister, _indexScale) = (Number(instruction.MemoryBase) is >= 0 and var number ? HostOf(number) : -1, register, 1);
        return true;
    }
}
