// Intel SDM volume 1, appendix A ("EFLAGS cross-reference"), and the instruction pages of volume 2.
using Iced.Intel;

namespace Vmm.TestSupport.Oracle;

/// <summary>Which results the architecture leaves undefined, so that a difference from the host CPU there is no error.</summary>
public static class UndefinedFlags
{
    private const ulong Carry = 1, Parity = 4, Adjust = 0x10, Zero = 0x40, Sign = 0x80, Overflow = 0x800;

    /// <summary>The six arithmetic flags.</summary>
    public const ulong All = Carry | Parity | Adjust | Zero | Sign | Overflow;

    private static readonly OracleState s_noInput = OracleState.PowerOn;

    /// <summary>The RFLAGS bits that are undefined after <paramref name="instruction"/> has completed from <paramref name="input"/>.</summary>
    public static ulong Mask(in Instruction instruction, in OracleState input)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.And or Mnemonic.Or or Mnemonic.Xor or Mnemonic.Test:
                return Adjust;
            case Mnemonic.Mul or Mnemonic.Imul:
                return Sign | Zero | Adjust | Parity;
            case Mnemonic.Div or Mnemonic.Idiv:
                return All;
            case Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc:
                return Overflow | Sign | Adjust | Parity;
            case Mnemonic.Bsf or Mnemonic.Bsr:
                return Carry | Overflow | Sign | Adjust | Parity;
            case Mnemonic.Tzcnt or Mnemonic.Lzcnt:
                return Overflow | Sign | Adjust | Parity;
            case Mnemonic.Andn or Mnemonic.Blsi or Mnemonic.Blsmsk or Mnemonic.Blsr or Mnemonic.Bzhi:
                return Adjust | Parity;
            case Mnemonic.Bextr:
                return Adjust | Sign | Parity;
            case Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr:
                return Count(instruction, input) is 0 or 1 ? 0 : Overflow;
            case Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr or Mnemonic.Sar:
                return ShiftMask(instruction, Count(instruction, input));
            case Mnemonic.Shld or Mnemonic.Shrd:
                int count = Count(instruction, input);
                return count == 0 ? 0 : count > OperandBits(instruction) ? All : count == 1 ? Adjust : Adjust | Overflow;
            default:
                return 0;
        }
    }

    /// <summary>The RFLAGS bits that may be undefined behind an instruction of unknown inputs, when some were before it.</summary>
    /// <param name="instruction">The instruction.</param>
    /// <param name="before">The undefined bits before it.</param>
    public static ulong After(in Instruction instruction, ulong before)
    {
        // Whether a shift writes flags at all depends on its count, and so it is for comparisons that are repeated CX times.
        bool shift = IsShift(instruction);
        bool byCount = shift && instruction.GetOpKind(instruction.OpCount - 1) == OpKind.Register;
        ulong undefined = byCount ? Carry | Adjust | Overflow : Mask(instruction, s_noInput);
        bool mayKeep = shift || (instruction.IsStringInstruction && (instruction.HasRepePrefix || instruction.HasRepnePrefix));
        return (mayKeep ? before : before & ~Bits(instruction.RflagsModified)) | undefined;
    }

    /// <summary>RFLAGS bits of Iced's.</summary>
    public static ulong Bits(RflagsBits bits) =>
        ((bits & RflagsBits.CF) != 0 ? Carry : 0) | ((bits & RflagsBits.PF) != 0 ? Parity : 0) | ((bits & RflagsBits.AF) != 0 ? Adjust : 0)
        | ((bits & RflagsBits.ZF) != 0 ? Zero : 0) | ((bits & RflagsBits.SF) != 0 ? Sign : 0) | ((bits & RflagsBits.OF) != 0 ? Overflow : 0);

    /// <summary>The destination operand is undefined as a whole.</summary>
    public static bool IsDestinationUndefined(in Instruction instruction, in OracleState input) =>
        instruction.Mnemonic is Mnemonic.Shld or Mnemonic.Shrd && Count(instruction, input) > OperandBits(instruction);

    private static bool IsShift(in Instruction instruction) => instruction.Mnemonic is Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr or Mnemonic.Sar
        or Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr or Mnemonic.Shld or Mnemonic.Shrd;

    private static ulong ShiftMask(in Instruction instruction, int count)
    {
        if (count == 0)
        {
            return 0;
        }

        ulong mask = count == 1 ? Adjust : Adjust | Overflow;
        return count >= OperandBits(instruction) && instruction.Mnemonic != Mnemonic.Sar ? mask | Carry : mask;
    }

    private static int OperandBits(in Instruction instruction) =>
        8 * (instruction.Op0Kind == OpKind.Register ? instruction.Op0Register.GetSize() : instruction.MemorySize.GetSize());

    private static int Count(in Instruction instruction, in OracleState input)
    {
        int last = instruction.OpCount - 1;
        int count = instruction.GetOpKind(last) == OpKind.Register ? (byte)input.Gpr[GprFile.Rcx] : (int)instruction.GetImmediate(last);
        return count & (OperandBits(instruction) == 64 ? 63 : 31);
    }
}
