using Iced.Intel;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// The <see cref="OperandUse"/> of instructions. Iced tells it, but takes long, and parts of it are so large that the JIT's memory for compiling them anew, once
/// they were called often, was 4 MiB. So it is asked once for all instructions alike.
/// </summary>
internal sealed class OperandUses
{
    private const int Size = 4096;

    private readonly InstructionInfoFactory _information = new();
    private readonly Encoder _encoder = Encoder.Create(64, new Sink());
    // Where an instruction is looked up: what identifies it, plus one, above what is known of it.
    private readonly ulong[] _known = new ulong[Size];

    /// <summary>That of an instruction.</summary>
    public OperandUse Of(in Instruction instruction)
    {
        // Besides the code it depends on whether there is an operand in memory, and on whether two are the same register.
        var memory = instruction.Op0Kind == OpKind.Memory || instruction.Op1Kind == OpKind.Memory || instruction.Op2Kind == OpKind.Memory || instruction.Op3Kind == OpKind.Memory;
        var same = IsRegister(instruction, 0) && IsRegister(instruction, 1) && instruction.Op0Register == instruction.Op1Register;
        var key = (ulong)instruction.Code << 2 | (memory ? 2UL : 0) | (same ? 1UL : 0);
        ref var known = ref _known[key % Size];
        if (known >> OperandUse.Bits != key + 1) known = (key + 1) << OperandUse.Bits | Ask(instruction).Value;
        return new OperandUse(known & ((1UL << OperandUse.Bits) - 1));
    }

    private static bool IsRegister(in Instruction instruction, int operand) => instruction.OpCount > operand && instruction.GetOpKind(operand) == OpKind.Register;

    private OperandUse Ask(in Instruction instruction)
    {
        var use = new OperandUse(0);
        var operands = Math.Min(instruction.OpCount, OperandUse.Operands);
        // The same with other registers, so that what is implied is told from what is named; and with none that bars a form in memory.
        var (other, plain) = (instruction, instruction);
        ref readonly var info = ref _information.GetInfo(instruction);
        for (var i = 0; i < operands; i++)
        {
            use = use.With(i, info.GetOpAccess(i));
            if (!IsRegister(instruction, i) || Number(instruction.GetOpRegister(i)) < 0) continue;
            var register = instruction.GetOpRegister(i);
            other.SetOpRegister(i, Sized(i == 1 && instruction.Op0Register == register ? R12 : R12 + i, register));
            if (IsHighByte(register)) plain.SetOpRegister(i, Register.AL + (register - Register.AH));
        }

        var implied = 0u;
        foreach (var used in _information.GetInfo(other).GetUsedRegisters())
        {
            if (used.Access is not (OpAccess.Read or OpAccess.CondRead) && Number(used.Register) is >= 0 and < R12 and var register) implied |= 1u << register;
        }

        use = use.WithImplied(implied);
        for (var i = 0; i < operands; i++)
        {
            if (!IsRegister(instruction, i) || Number(instruction.GetOpRegister(i)) < 0) continue;
            var redirected = plain;
            redirected.SetOpKind(i, OpKind.Memory);
            redirected.MemoryBase = Register.RSP;
            if (_encoder.TryEncode(redirected, 0, out _, out _)) use = use.WithPlace(i);
        }

        return use;
    }

    private sealed class Sink : CodeWriter
    {
        public override void WriteByte(byte value)
        {
        }
    }
}
