using System.Numerics;
using Iced.Intel;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// The <see cref="OperandUse"/> of instructions. Iced tells it, but takes long, and parts of it are so large that the JIT's memory for compiling them anew, once
/// they were called often, was 4 MiB. So it is asked once for all instructions alike.
/// </summary>
internal sealed class OperandUses
{
    private const int SizeShift = 12;

    private readonly InstructionInfoFactory _information = new();
    private readonly Encoder _encoder = Encoder.Create(64, new Sink());
    // Where an instruction is looked up: what identifies it, plus one, above what is known of it.
    private readonly ulong[] _known = new ulong[1 << SizeShift];

    /// <summary>That of an instruction.</summary>
    public OperandUse Of(in Instruction instruction)
    {
        // Besides the code it depends on whether there is an operand in memory, and on whether two are the same register.
        var memory = instruction.Op0Kind == OpKind.Memory || instruction.Op1Kind == OpKind.Memory || instruction.Op2Kind == OpKind.Memory || instruction.Op3Kind == OpKind.Memory;
        var same = IsRegister(instruction, 0) && IsRegister(instruction, 1) && instruction.Op0Register == instruction.Op1Register;
        var key = (ulong)instruction.Code << 2 | (memory ? 2UL : 0) | (same ? 1UL : 0);
        var slot = (uint)key * 0x9E37_79B9 >> (32 - SizeShift);
        ref var known = ref _known[slot];
        if (known != 0 && known >> OperandUse.Bits != key + 1) known = ref _known[slot ^ 1];
        if (known >> OperandUse.Bits != key + 1) known = (key + 1) << OperandUse.Bits | Ask(instruction).Value;
        return new OperandUse(known & ((1UL << OperandUse.Bits) - 1));
    }

    /// <summary>A bit for each general register that an instruction writes, in part at least.</summary>
    public uint Written(in Instruction instruction)
    {
        var use = Of(instruction);
        var written = use.Implied;
        for (var i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register && use.Writes(i) && Number(instruction.GetOpRegister(i)) is >= 0 and var named) written |= 1u << named;
        }

        return written;
    }

    private static bool IsRegister(in Instruction instruction, int operand) => instruction.OpCount > operand && instruction.GetOpKind(operand) == OpKind.Register;

    private OperandUse Ask(in Instruction instruction)
    {
        // With other registers, so that what is implied is told from what is named; and with none that bars a form in memory.
        var (other, plain) = (instruction, instruction);
        var operands = Math.Min(instruction.OpCount, OperandUse.Operands);
        var general = 0;
        for (var i = 0; i < operands; i++)
        {
            if (!IsRegister(instruction, i) || Number(instruction.GetOpRegister(i)) < 0) continue;
            var register = instruction.GetOpRegister(i);
            general |= 1 << i;
            other.SetOpRegister(i, Sized(i == 1 && instruction.Op0Register == register ? R12 : R12 + i, register));
            if (IsHighByte(register)) plain.SetOpRegister(i, Register.AL + (register - Register.AH));
        }

        var use = new OperandUse(0);
        if (IsShift(instruction.Mnemonic))
        {
            // The most common ones of those that are asked for with that part of Iced.
            use = use.With(0, OpAccess.ReadWrite).With(1, OpAccess.Read);
        }
        else
        {
            ref readonly var info = ref _information.GetInfo(other);
            for (var i = 0; i < operands; i++) use = use.With(i, info.GetOpAccess(i));
            var implied = 0u;
            foreach (var used in info.GetUsedRegisters())
            {
                if (used.Access is not (OpAccess.Read or OpAccess.CondRead) && Number(used.Register) is >= 0 and < R12 and var register) implied |= 1u << register;
            }

            use = use.WithImplied(implied);
        }

        for (; general != 0; general &= general - 1)
        {
            var redirected = plain;
            var operand = BitOperations.TrailingZeroCount(general);
            redirected.SetOpKind(operand, OpKind.Memory);
            redirected.MemoryBase = Register.RSP;
            if (_encoder.TryEncode(redirected, 0, out _, out _)) use = use.WithPlace(operand);
        }

        return use;
    }

    private static bool IsShift(Mnemonic mnemonic) => mnemonic is Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr or Mnemonic.Sar or Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr;

    private sealed class Sink : CodeWriter
    {
        public override void WriteByte(byte value)
        {
        }
    }
}
