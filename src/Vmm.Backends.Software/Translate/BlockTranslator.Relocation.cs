using Iced.Intel;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>An instruction kept as it is, with its registers renamed and its memory operand redirected to host memory.</summary>
internal sealed unsafe partial class BlockTranslator
{
    // Guest register -> the free host register that stands for it in the instruction being relocated.
    private readonly int[] _standIn = new int[16];

    private bool TryRelocate(ref Instruction instruction)
    {
        var use = _uses.Of(instruction);
        var memory = false;
        var highByte = false;
        for (var i = 0; i < instruction.OpCount; i++)
        {
            switch (instruction.GetOpKind(i))
            {
                case OpKind.Memory: memory = true; break;
                case OpKind.Register: highByte |= IsHighByte(instruction.GetOpRegister(i)); break;
                case OpKind.Immediate8 or OpKind.Immediate8_2nd or OpKind.Immediate16 or OpKind.Immediate32 or OpKind.Immediate64
                    or OpKind.Immediate8to16 or OpKind.Immediate8to32 or OpKind.Immediate8to64 or OpKind.Immediate32to64: break;
                default: return false;
            }
        }

        var byCount = IsShiftByCount(instruction);
        if (highByte && byCount) return false;

        // Which guest registers need a stand-in, and whether they are read or written.
        Array.Fill(_standIn, -1);
        var wanted = 0;
        var (reads, writes) = (0, 0);
        for (var i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) != OpKind.Register) continue;
            var register = instruction.GetOpRegister(i);
            var guest = Number(register);
            if (guest < 0 || (byCount && i == instruction.OpCount - 1)) continue;
            var host = HostOf(guest);
            if (highByte && !IsHighByte(register) && host >= 8 && guest != Rcx) return false;
            if (host >= 0 && !(highByte && guest == Rcx)) continue;
            if (_standIn[guest] == -1) wanted++;
            _standIn[guest] = -2;
            if (use.Access(i) != OpAccess.Write || register.GetSize() < 4) reads |= 1 << guest;
            if (use.Writes(i)) writes |= 1 << guest;
        }

        if (!memory && wanted > 0 && TryUsePlace(instruction, writes, highByte || byCount)) return true;
        if (highByte && (wanted > (_standIn[Rcx] == -2 ? 1 : 0) || (memory && wanted > 0))) return false;
        var (first, index) = (Register.None, Register.None);
        if (memory)
        {
            EmitOperand(instruction, use, MemoryOperand(instruction));
            (first, index) = (_base < 0 ? Register.None : Register.RAX + _base, Register.RAX + _indexRegister);
        }

        // RCX, R14 and R15 are there to stand in, less what the operand, or a shift, takes of them.
        var free = (byCount ? 0 : 1 << Rcx) | (memory && _base == Linear ? 0 : 1 << Linear) | (memory ? 0 : 1 << Addend);
        if (memory && (wanted > System.Numerics.BitOperations.PopCount((uint)free) || highByte))
        {
            var to = highByte ? Rcx : Linear;
            _e.Lea(to, _base < 0 ? Addend : _base, _base < 0 ? -1 : Addend, 1, _displacement);
            (_displacement, first, index) = (0, Register.RAX + to, Register.None);
            free = (byCount ? 0 : 1 << Rcx) | 1 << Addend;
        }

        if (wanted > System.Numerics.BitOperations.PopCount((uint)free)) return false;
        for (var guest = 0; guest < 16; guest++)
        {
            if (_standIn[guest] != -2) continue;
            var held = HeldIn(guest);
            var isHeld = (free & held) != 0;
            // What holds another register that is wanted is taken last.
            var others = free & ~(_e.HeldInRcx >= 0 && _standIn[_e.HeldInRcx] == -2 ? 1 << Rcx : 0) & ~(_e.HeldInLinear >= 0 && _standIn[_e.HeldInLinear] == -2 ? 1 << Linear : 0);
            _standIn[guest] = System.Numerics.BitOperations.TrailingZeroCount(isHeld ? free & held : others != 0 ? others : free);
            free &= ~(1 << _standIn[guest]);
            if (_standIn[guest] == Addend) _e.AddendLost = true;
            if ((reads & 1 << guest) != 0 && !isHeld) LoadGuest(_standIn[guest], guest);
        }

        if (byCount) _e.Move(Rcx, HostOf(Rcx));
        Rename(ref instruction, byCount);
        if (memory) Redirect(ref instruction, first, index, _displacement, _indexScale);
        if (!_e.TryEncode(instruction)) return false;
        for (var guest = 0; guest < 16; guest++)
        {
            if (_standIn[guest] < 0) continue;
            if ((writes & 1 << guest) != 0) StoreGuest(guest, _standIn[guest]);
            _e.Hold(_standIn[guest], HostOf(guest) < 0 ? guest : -1);
        }

        return true;
    }

    // The free host registers that are copies of a guest register.
    private int HeldIn(int guest) => (_e.HeldInRcx == guest ? 1 << Rcx : 0) | (_e.HeldInLinear == guest ? 1 << Linear : 0);

    // Whether the next instruction names a guest register.
    private bool IsUsedNext(int guest)
    {
        // SAFETY: a translation's block lives as long as it does.
        if (_index + 1 >= _t.Block->Count || _kinds[_first + _index + 1] is not (RelocatableKind.Integer or RelocatableKind.Stack)) return false;
        ref var next = ref _instructions[_first + _index + 1];
        if (Number(next.MemoryBase) == guest || Number(next.MemoryIndex) == guest) return true;
        for (var i = 0; i < next.OpCount; i++)
        {
            if (next.GetOpKind(i) == OpKind.Register && Number(next.GetOpRegister(i)) == guest) return true;
        }

        return false;
    }

    // A guest register that lives in the state is a memory operand there, where the instruction has such a form and names no other.
    private bool TryUsePlace(in Instruction original, int writes, bool special)
    {
        if (special || _kinds[_first + _index] != RelocatableKind.Integer || original.HasLockPrefix
            || original.Mnemonic is Mnemonic.Xchg or Mnemonic.Cmpxchg or Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc) return false;
        var instruction = original;
        var place = -1;
        for (var i = 0; i < original.OpCount; i++)
        {
            if (original.GetOpKind(i) != OpKind.Register) continue;
            var register = original.GetOpRegister(i);
            if (Number(register) < 0) continue;
            if (HostOf(Number(register)) >= 0)
            {
                instruction.SetOpRegister(i, Sized(HostOf(Number(register)), register));
                continue;
            }

            if (place >= 0) return false;
            place = i;
        }

        if (!_uses.Of(instruction).TakesMemory(place))
        {
            instruction.Code = OtherDirection(instruction.Code);
            if (instruction.Code == Code.INVALID || !_uses.Of(instruction).TakesMemory(place)) return false;
        }

        var guest = Number(original.GetOpRegister(place));
        // A copy is at hand, or will be asked for.
        if (HeldIn(guest) != 0 || IsUsedNext(guest)) return false;
        instruction.SetOpKind(place, OpKind.Memory);
        Redirect(ref instruction, Register.RSP, Register.None, Place(guest));
        if (!_e.TryEncode(instruction)) return false;
        // A result of 32 bits clears the upper half.
        if ((writes & 1 << guest) != 0) _e.Renew(guest);
        if ((writes & 1 << guest) != 0 && original.GetOpRegister(place).GetSize() == 4) _e.StoreConstant32(Place(guest) + 4, 0);
        return true;
    }

    // The same operation with its first operand in the other field of the encoding.
    private static Code OtherDirection(Code code) => code switch
    {
        Code.Add_rm64_r64 => Code.Add_r64_rm64, Code.Add_r64_rm64 => Code.Add_rm64_r64, Code.Add_rm32_r32 => Code.Add_r32_rm32, Code.Add_r32_rm32 => Code.Add_rm32_r32,
        Code.Or_rm64_r64 => Code.Or_r64_rm64, Code.Or_r64_rm64 => Code.Or_rm64_r64, Code.Or_rm32_r32 => Code.Or_r32_rm32, Code.Or_r32_rm32 => Code.Or_rm32_r32,
        Code.Adc_rm64_r64 => Code.Adc_r64_rm64, Code.Adc_r64_rm64 => Code.Adc_rm64_r64, Code.Adc_rm32_r32 => Code.Adc_r32_rm32, Code.Adc_r32_rm32 => Code.Adc_rm32_r32,
        Code.Sbb_rm64_r64 => Code.Sbb_r64_rm64, Code.Sbb_r64_rm64 => Code.Sbb_rm64_r64, Code.Sbb_rm32_r32 => Code.Sbb_r32_rm32, Code.Sbb_r32_rm32 => Code.Sbb_rm32_r32,
        Code.And_rm64_r64 => Code.And_r64_rm64, Code.And_r64_rm64 => Code.And_rm64_r64, Code.And_rm32_r32 => Code.And_r32_rm32, Code.And_r32_rm32 => Code.And_rm32_r32,
        Code.Sub_rm64_r64 => Code.Sub_r64_rm64, Code.Sub_r64_rm64 => Code.Sub_rm64_r64, Code.Sub_rm32_r32 => Code.Sub_r32_rm32, Code.Sub_r32_rm32 => Code.Sub_rm32_r32,
        Code.Xor_rm64_r64 => Code.Xor_r64_rm64, Code.Xor_r64_rm64 => Code.Xor_rm64_r64, Code.Xor_rm32_r32 => Code.Xor_r32_rm32, Code.Xor_r32_rm32 => Code.Xor_rm32_r32,
        Code.Cmp_rm64_r64 => Code.Cmp_r64_rm64, Code.Cmp_r64_rm64 => Code.Cmp_rm64_r64, Code.Cmp_rm32_r32 => Code.Cmp_r32_rm32, Code.Cmp_r32_rm32 => Code.Cmp_rm32_r32,
        Code.Mov_rm64_r64 => Code.Mov_r64_rm64, Code.Mov_r64_rm64 => Code.Mov_rm64_r64, Code.Mov_rm32_r32 => Code.Mov_r32_rm32, Code.Mov_r32_rm32 => Code.Mov_rm32_r32,
        _ => Code.INVALID,
    };

    // With RDX zero and a divisor that is not, DIV cannot fault; else the interpreter goes on from here.
    private void EmitDivide(in Instruction instruction)
    {
        var wide = instruction.Code == Code.Div_rm64;
        if (instruction.Op0Kind == OpKind.Memory)
        {
            EmitOperand(instruction, wide ? 8 : 4, false);
            EmitFound(0x8B, Linear, wide);
        }
        else
        {
            var divisor = Resident(Number(instruction.Op0Register), Linear);
            _e.Lea(Linear, divisor, -1, 1, 0, wide);
        }

        _e.Lea(Rcx, Rdx, -1, 1, 0, wide);
        var small = _e.IfZero();
        _exits.Add((_e.Jump(), _sites.Add(new Site { Translation = _t, Index = _index }), _stubs.Interpret));
        _e.Bind(small);
        _e.Move(Rcx, Linear);
        var zero = _e.IfZero();
        _e.Bytes([wide ? (byte)0x49 : (byte)0x41, 0xF7, 0xF6]); // div r14
        var over = _e.Jump();
        _e.Bind(zero);
        _exits.Add((_e.Jump(), _sites.Add(new Site { Translation = _t, Index = _index }), _stubs.Interpret));
        _e.Land(over);
    }

    private void EmitOperand(in Instruction instruction, OperandUse use, int operand)
    {
        var size = instruction.MemorySize.GetSize();
        var alignment = instruction.HasLockPrefix ? 1 : Relocatable.Alignment(instruction);
        _alone = use.Access(operand) == OpAccess.Read || (use.Access(operand) == OpAccess.Write && instruction.Mnemonic == Mnemonic.Mov);
        EmitOperand(instruction, size, use.Writes(operand), alignment);
        _alone = false;
    }

    private static int MemoryOperand(in Instruction instruction)
    {
        var i = 0;
        while (instruction.GetOpKind(i) != OpKind.Memory) i++;
        return i;
    }

    private static bool IsShiftByCount(in Instruction instruction) =>
        instruction.Mnemonic is Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr or Mnemonic.Sar or Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr or Mnemonic.Shld or Mnemonic.Shrd
        && instruction.GetOpKind(instruction.OpCount - 1) == OpKind.Register && instruction.GetOpRegister(instruction.OpCount - 1) == Register.CL;

    private void Rename(ref Instruction instruction, bool byCount)
    {
        for (var i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) != OpKind.Register || (byCount && i == instruction.OpCount - 1)) continue;
            var register = instruction.GetOpRegister(i);
            var guest = Number(register);
            if (guest < 0 || IsHighByte(register)) continue;
            instruction.SetOpRegister(i, Sized(_standIn[guest] >= 0 ? _standIn[guest] : HostOf(guest), register));
        }
    }

    private static void Redirect(ref Instruction instruction, Register first, Register index, int displacement, int scale = 1)
    {
        if (first == Register.None && scale == 1) (first, index) = (index, Register.None);
        instruction.MemoryBase = first;
        instruction.MemoryIndex = index;
        instruction.MemoryIndexScale = scale;
        instruction.MemoryDisplacement64 = (ulong)displacement;
        instruction.MemoryDisplSize = displacement == 0 ? 0 : displacement is >= -128 and <= 127 ? 1 : 8;
        instruction.SegmentPrefix = Register.None;
    }

    private void LoadGuest(int to, int guest)
    {
        if (HostOf(guest) >= 0) _e.Move(to, HostOf(guest));
        else _e.Load(to, Place(guest));
    }

    private void StoreGuest(int guest, int from)
    {
        if (HostOf(guest) >= 0) _e.Move(HostOf(guest), from);
        else _e.Store(Place(guest), from);
        _e.Renew(guest);
    }
}
