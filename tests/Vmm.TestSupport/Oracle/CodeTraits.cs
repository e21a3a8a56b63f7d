using System.Collections.Immutable;
using Iced.Intel;

namespace Vmm.TestSupport.Oracle;

/// <summary>What a generator needs to know of a form, computed once.</summary>
/// <param name="Lanes">What the lanes of its operands are.</param>
/// <param name="UsesVectors">It reads or writes MMX, XMM, YMM or MXCSR.</param>
/// <param name="UsesFpu">It reads or writes x87 or MMX state.</param>
internal readonly record struct CodeTraits(LaneKind Lanes, bool UsesVectors, bool UsesFpu)
{
    private static readonly ImmutableArray<CodeTraits> s_all =
        [.. Enum.GetValues<Code>().Select(c => new CodeTraits(KindOf(c), TouchesVectors(c), TouchesFpu(c)))];

    public static CodeTraits Of(Code code) => s_all[(int)code];

    private static LaneKind KindOf(Code code)
    {
        string name = code.Mnemonic().ToString();
        if (name.Contains("cmpestr", StringComparison.OrdinalIgnoreCase) || name.Contains("cmpistr", StringComparison.OrdinalIgnoreCase))
        {
            return LaneKind.Text;
        }

        switch (code.ToOpCode().MemorySize.GetInfo().ElementType)
        {
            case MemorySize.Float16: return LaneKind.Float16;
            case MemorySize.Float32: return LaneKind.Float32;
            case MemorySize.Float64: return LaneKind.Float64;
            case MemorySize.Float80: return LaneKind.Float80;
            case MemorySize.Bcd: return LaneKind.Bcd;
            case MemorySize.Int8 or MemorySize.UInt8: return LaneKind.Int8;
            case MemorySize.Int16 or MemorySize.UInt16: return LaneKind.Int16;
            case MemorySize.Int32 or MemorySize.UInt32: return LaneKind.Int32;
            case MemorySize.Int64 or MemorySize.UInt64: return LaneKind.Int64;
            default: return LaneKind.Random;
        }
    }

    private static bool TouchesFpu(Code code)
    {
        OpCodeInfo info = code.ToOpCode();
        // Register forms have the ModRM byte in Iced's opcode.
        uint opcode = info.OpCode > 0xFF ? info.OpCode >> 8 : info.OpCode;
        return opcode is >= 0xD8 and <= 0xDF && info.Table == OpCodeTableKind.Normal || code == Code.Wait || IsStateImage(code)
            || code.Mnemonic() is Mnemonic.Emms or Mnemonic.Femms
            || HasOperand(info, k => k is OpCodeOperandKind.mm_reg or OpCodeOperandKind.mm_rm or OpCodeOperandKind.mm_or_mem);
    }

    private static bool TouchesVectors(Code code)
    {
        OpCodeInfo info = code.ToOpCode();
        return info.Encoding != EncodingKind.Legacy || IsStateImage(code) || info.Mnemonic is Mnemonic.Ldmxcsr or Mnemonic.Stmxcsr
            || HasOperand(info, k => k is OpCodeOperandKind.xmm_reg or OpCodeOperandKind.xmm_rm or OpCodeOperandKind.xmm_or_mem
                or OpCodeOperandKind.mm_reg or OpCodeOperandKind.mm_or_mem);
    }

    /// <summary>FXSAVE, XSAVE and their likes.</summary>
    public static bool IsStateImage(Code code) => code.Mnemonic() is Mnemonic.Fxsave or Mnemonic.Fxsave64 or Mnemonic.Fxrstor or Mnemonic.Fxrstor64
        or Mnemonic.Xsave or Mnemonic.Xsave64 or Mnemonic.Xsavec or Mnemonic.Xsavec64 or Mnemonic.Xrstor or Mnemonic.Xrstor64;

    private static bool HasOperand(OpCodeInfo info, Func<OpCodeOperandKind, bool> predicate)
    {
        for (int i = 0; i < info.OpCount; i++)
        {
            if (predicate(info.GetOpKind(i)))
            {
                return true;
            }
        }

        return false;
    }
}
