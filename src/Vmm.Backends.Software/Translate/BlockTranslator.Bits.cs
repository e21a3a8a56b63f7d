using Iced.Intel;
using Vmm.Backends.Software.Decode;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>Bits of memory by an offset in a register, and CMPXCHG16B.</summary>
internal sealed unsafe partial class BlockTranslator
{
    // The word is found here, so that the host's instruction has a small offset. Backwards the interpreter goes.
    private bool TryEmitFarBit(ref Instruction instruction, ref Op op)
    {
        var register = instruction.Op1Register;
        var size = register.GetSize();
        if (size == 2 || op.Address == AddressKind.Truncated64) return false;
        var (sign, word, bit) = size == 8 ? (StateLayout.Sign64, StateLayout.Word64, StateLayout.Bit64) : (StateLayout.Sign32, StateLayout.Word32, StateLayout.Bit32);
        _e.Extract(Rcx, Resident(Number(register), Rcx), sign);
        EmitInterpretUnlessZero();
        EmitAddress(instruction, Segment(instruction));
        _e.Extract(Rcx, Resident(Number(register), Rcx), word);
        _e.Lea(Linear, Linear, Rcx, size, 0);
        EmitLinear(size, instruction.Mnemonic != Mnemonic.Bt);
        _e.Extract(Rcx, Resident(Number(register), Rcx), bit);
        instruction.Op1Register = Sized(Rcx, register);
        Redirect(ref instruction, Register.R14, Register.R15, 0);
        return _e.TryEncode(instruction);
    }

    // With LOCK only on a machine of one processor: the interpreter of another one has no way to do this atomically.
    private bool TryEmitWideExchange(in Instruction instruction)
    {
        if (instruction.HasLockPrefix && !_single) return false;
        EmitAddress(instruction, Segment(instruction));
        EmitLinear(16, true, 16);
        _e.Move(Rcx, HostOf(Rcx));
        _e.Bytes([0x4B, 0x0F, 0xC7, 0x0C, 0x3E]); // cmpxchg16b [r14 + r15]
        return true;
    }
}
