using System.Runtime.Intrinsics;
using Iced.Intel;

namespace Vmm.TestSupport.Oracle;

/// <summary>
/// What processors do differently where the manuals leave it open, or where Intel's and AMD's disagree. All of it was seen on real
/// ones; nearly all concerns what an instruction leaves behind when it faults.
/// </summary>
internal static class Undecided
{
    private const int PageFault = 14;

    /// <summary>Cases in which processors may differ as a whole.</summary>
    public static bool IsWhole(in Instruction instruction, in OracleState expected, in OracleState actual) => instruction.Mnemonic switch
    {
        // It may or may not touch components that it does not load.
        Mnemonic.Xrstor or Mnemonic.Xrstor64 => expected.Fault.Vector == PageFault && actual.Fault.Vector is -1 or 13,
        // The store may fault before or after the arithmetic.
        Mnemonic.Vcvtps2ph => (IsMemory(expected.Fault) && actual.Fault.Vector == 19) || (IsMemory(actual.Fault) && expected.Fault.Vector == 19),
        // Intel: alignment class 4, so #GP if misaligned. AMD's processors take any address.
        Mnemonic.Sha1rnds4 or Mnemonic.Sha1nexte or Mnemonic.Sha1msg1 or Mnemonic.Sha1msg2 or Mnemonic.Sha256rnds2 or Mnemonic.Sha256msg1 or Mnemonic.Sha256msg2 =>
            !expected.Fault.IsFault && actual.Fault.Vector == 13,
        // An unmasked exception keeps the store from being made; whether its address is looked at before is open.
        Mnemonic.Fst or Mnemonic.Fstp or Mnemonic.Fist or Mnemonic.Fistp or Mnemonic.Fisttp or Mnemonic.Fbstp =>
            (IsMemory(actual.Fault) && !expected.Fault.IsFault && (expected.Fpu.Fsw & 0x80) != 0) || (IsMemory(expected.Fault) && !actual.Fault.IsFault && (actual.Fpu.Fsw & 0x80) != 0),
        _ => false,
    };

    /// <summary>
    /// Which of two faulting operands is reported is not defined, nor which byte of a state image is touched first, nor which byte of a
    /// masked store.
    /// </summary>
    public static bool AreSame(in Instruction instruction, in OracleFault expected, in OracleFault actual)
    {
        if (instruction.IsStringInstruction) return IsComparison(instruction) && expected.IsFault && actual.IsFault;
        if (expected.Vector != PageFault || actual.Vector != PageFault || expected.ErrorCode != actual.ErrorCode) return false;
        return CodeTraits.IsStateImage(instruction.Code) ? expected.Address - actual.Address + 4096 <= 8192
            : IsMaskedStore(instruction.Mnemonic) && (expected.Address ^ actual.Address) >> 12 == 0;
    }

    /// <summary>Flags of a repeated comparison that faults: as before it (Intel), or as its last element left them (AMD).</summary>
    public static bool AreFlagsOpen(in Instruction instruction, in OracleFault expected) => expected.IsFault && IsComparison(instruction);

    /// <summary>Bits of a general register that are compared.</summary>
    public static ulong RegisterMask(in Instruction instruction, in OracleState input, in OracleFault expected, int register)
    {
        // Repeated no times, or faulting at once, with 32-bit addresses: Intel's processors clear the upper halves of count and pointers, AMD's keep them.
        bool isStart = expected.IsFault || (uint)input.Gpr[GprFile.Rcx] == 0;
        if (isStart && instruction.IsStringInstruction && register is GprFile.Rcx or GprFile.Rsi or GprFile.Rdi && HasNarrowAddress(instruction)) return uint.MaxValue;

        // BSF and BSR of zero keep the destination, but the upper half of a 32-bit one is undefined.
        if (instruction.Mnemonic is not (Mnemonic.Bsf or Mnemonic.Bsr) || instruction.Op0Register.GetSize() != 4
            || instruction.Op0Register.GetFullRegister() != Register.RAX + register)
        {
            return ulong.MaxValue;
        }

        bool zero = instruction.Op1Kind != OpKind.Register || (uint)input.Gpr[instruction.Op1Register.GetFullRegister() - Register.RAX] == 0;
        return zero ? uint.MaxValue : ulong.MaxValue;
    }

    /// <summary>MXCSR flags that may differ.</summary>
    public static uint Mxcsr(in Instruction instruction, in OracleFault expected)
    {
        // In which order a dot product's steps set flags before one of them faults is not defined: overflow, underflow and inexact may be left out.
        if (IsDotProduct(instruction) && expected.Vector == 19) return 0x38;
        // As for the fault: the flags of a conversion whose store faults may be set already.
        return instruction.Mnemonic == Mnemonic.Vcvtps2ph && IsMemory(expected) ? 0x3Fu : 0;
    }

    /// <summary>An MMX store that faults may have made TOP zero already, and with it what ST(i) means.</summary>
    public static bool IsStackOpen(in Instruction instruction, in OracleFault expected) =>
        IsMemory(expected) && instruction.Op0Kind == OpKind.Memory && instruction.Op1Kind == OpKind.Register && instruction.Op1Register.IsMM();

    /// <summary>Makes alike what may differ in a vector register.</summary>
    public static Vector256<byte> Settle(in Instruction instruction, in OracleFault expected, int register, Vector256<byte> value)
    {
        if (!expected.IsFault || instruction.OpCount != 3 || !instruction.IsVsib) return value;
        bool isMask = Number(instruction.Op2Register) == register;
        if (!isMask && Number(instruction.Op0Register) != register) return value;
        // Intel's processors have made whole elements of the mask's signs and cleared the upper half when a gather faults, AMD's have not.
        if (!instruction.Op0Register.IsYMM()) value = value.WithUpper(Vector128<byte>.Zero);
        if (!isMask) return value;
        return instruction.MemorySize.GetElementSize() == 4 ? (value.AsInt32() >> 31).AsByte() : (value.AsInt64() >> 63).AsByte();
    }

    /// <summary>Bytes of the elements whose NaNs may have other payloads: which of several a dot product gives is not defined. Zero for none.</summary>
    public static int OpenNaNs(in Instruction instruction) => !IsDotProduct(instruction) ? 0 : instruction.Mnemonic is Mnemonic.Dppd or Mnemonic.Vdppd ? 8 : 4;

    /// <summary>Whether a store of ten bytes that faults may have been made in part.</summary>
    public static bool IsStorePartial(in Instruction instruction, in OracleFault expected) =>
        expected.Vector == PageFault && instruction.Op0Kind == OpKind.Memory && instruction.Mnemonic is Mnemonic.Fbstp or Mnemonic.Fstp && instruction.MemorySize.GetSize() == 10;

    private static int Number(Register register) => register.IsYMM() ? register - Register.YMM0 : register - Register.XMM0;

    private static bool IsMemory(in OracleFault fault) => fault.Vector is 12 or 13 or PageFault;

    private static bool IsDotProduct(in Instruction instruction) => instruction.Mnemonic is Mnemonic.Dpps or Mnemonic.Dppd or Mnemonic.Vdpps or Mnemonic.Vdppd;

    private static bool IsComparison(in Instruction instruction) =>
        instruction.IsStringInstruction && instruction.Mnemonic is Mnemonic.Cmpsb or Mnemonic.Cmpsw or Mnemonic.Cmpsd or Mnemonic.Cmpsq or Mnemonic.Scasb or Mnemonic.Scasw or Mnemonic.Scasd or Mnemonic.Scasq;

    private static bool IsMaskedStore(Mnemonic mnemonic) => mnemonic is Mnemonic.Maskmovdqu or Mnemonic.Vmaskmovdqu or Mnemonic.Maskmovq
        or Mnemonic.Vmaskmovps or Mnemonic.Vmaskmovpd or Mnemonic.Vpmaskmovd or Mnemonic.Vpmaskmovq;

    private static bool HasNarrowAddress(in Instruction instruction)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) is OpKind.MemorySegESI or OpKind.MemoryESEDI or OpKind.MemorySegEDI) return true;
        }

        return false;
    }
}
