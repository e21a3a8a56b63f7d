using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class MulDivOps
{
    /// <summary>Binds the group's instructions.</summary>
    // SAFETY: function pointers to static methods of this class; nothing is dereferenced here.
    public static bool TryBind(in Instruction instruction, ref Op op)
    {
        if (instruction.Mnemonic is not (Mnemonic.Mul or Mnemonic.Imul or Mnemonic.Div or Mnemonic.Idiv or Mnemonic.Mulx)) return false;
        op.Handler = op.Size switch { 1 => Choose<Word8>(instruction, op), 2 => Choose<Word16>(instruction, op), 4 => Choose<Word32>(instruction, op), _ => Choose<Word64>(instruction, op) };
        return op.Handler != 0;
    }

    private static nint MulFlat<T>(in Op op) where T : unmanaged
    {
        if (op.Address != AddressKind.Flat64) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&MulMem<T>;
        return op.Index == Vcpu.ZeroSlot ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&MulFlat<T, Address.Direct> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&MulFlat<T, Address.Indexed>;
    }

    private static nint MulxFlat<T>(in Op op) where T : unmanaged
    {
        if (op.Address != AddressKind.Flat64) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&MulxMem<T>;
        return op.Index == Vcpu.ZeroSlot ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&MulxFlat<T, Address.Direct> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&MulxFlat<T, Address.Indexed>;
    }

    private static nint ImulFlat<T>(in Op op) where T : unmanaged
    {
        if (op.Address != AddressKind.Flat64) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ImulRegMem<T>;
        return op.Index == Vcpu.ZeroSlot ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&ImulFlat<T, Address.Direct> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&ImulFlat<T, Address.Indexed>;
    }

    private static nint Choose<T>(in Instruction instruction, in Op op) where T : unmanaged
    {
        var memory = instruction.Op0Kind == OpKind.Memory;
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Mul: return memory ? MulFlat<T>(op) : (nint)(delegate*<Vcpu, ref Op, ref Op>)&MulReg<T>;
            case Mnemonic.Div: return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&DivMem<T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&DivReg<T>;
            case Mnemonic.Idiv: return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&IdivMem<T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&IdivReg<T>;
            case Mnemonic.Mulx: return instruction.Op2Kind == OpKind.Memory ? MulxFlat<T>(op) : (nint)(delegate*<Vcpu, ref Op, ref Op>)&MulxReg<T>;
        }

        var second = instruction.OpCount > 1 && instruction.Op1Kind == OpKind.Memory;
        return instruction.OpCount switch
        {
            1 => memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&ImulWideMem<T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&ImulWideReg<T>,
            2 => second ? ImulFlat<T>(op) : (nint)(delegate*<Vcpu, ref Op, ref Op>)&ImulRegReg<T>,
            _ => second ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&ImulMemImm<T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&ImulRegImm<T>,
        };
    }
}
