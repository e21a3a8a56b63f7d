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
        ref readonly var info = ref _information.GetInfo(instruction);
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
            var access = info.GetOpAccess(i);
            if (access != OpAccess.Write || register.GetSize() < 4) reads |= 1 << guest;
            if (access is not (OpAccess.Read or OpAccess.CondRead)) writes |= 1 << guest;
        }

        if (highByte && (wanted > (_standIn[Rcx] == -2 ? 1 : 0) || (memory && wanted > 0))) return false;
        if (wanted + (memory ? 1 : 0) + (byCount ? 1 : 0) > 3) return false;
        if (memory) EmitOperand(instruction, info.GetOpAccess(MemoryOperand(instruction)));
        var folded = memory && (wanted + (byCount ? 1 : 0) > 1 || highByte);
        if (folded) _e.Lea(highByte ? Rcx : Linear, Linear, Addend, 1, 0);

        Span<int> free = byCount ? [R15, R14] : [Rcx, R15, R14];
        var next = memory && byCount && !folded ? 2 : 0;
        if (wanted > 0 && next == 2) return false;
        for (var guest = 0; guest < 16; guest++)
        {
            if (_standIn[guest] != -2) continue;
            _standIn[guest] = free[next++];
            if ((reads & 1 << guest) != 0) LoadGuest(_standIn[guest], guest);
        }

        if (byCount) _e.Move(Rcx, HostOf(Rcx));
        Rename(ref instruction, byCount);
        if (memory) Redirect(ref instruction, highByte ? Register.RCX : Register.R14, folded ? Register.None : Register.R15);
        if (!_e.TryEncode(instruction)) return false;
        for (var guest = 0; guest < 16; guest++)
        {
            if ((writes & 1 << guest) != 0) StoreGuest(guest, _standIn[guest]);
        }

        return true;
    }

    // With RDX zero and a divisor that is not, DIV cannot fault; else the interpreter goes on from here.
    private void EmitDivide(in Instruction instruction)
    {
        var wide = instruction.Code == Code.Div_rm64;
        if (instruction.Op0Kind == OpKind.Memory)
        {
            EmitAddress(instruction);
            EmitCheck(wide ? 8 : 4, false);
            if (wide) EmitLoadFound(Linear);
            else _e.Bytes([0x47, 0x8B, 0x34, 0x3E]); // mov r14d, [r14 + r15]
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

    private void EmitOperand(in Instruction instruction, OpAccess access)
    {
        var write = access is not (OpAccess.Read or OpAccess.CondRead);
        var size = instruction.MemorySize.GetSize();
        var alignment = instruction.HasLockPrefix ? 1 : Relocatable.Alignment(instruction);
        EmitAddress(instruction);
        EmitCheck(size, write, alignment);
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

    private static void Redirect(ref Instruction instruction, Register first, Register index)
    {
        instruction.MemoryBase = first;
        instruction.MemoryIndex = index;
        instruction.MemoryIndexScale = 1;
        instruction.MemoryDisplacement64 = 0;
        instruction.MemoryDisplSize = 0;
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
    }
}
