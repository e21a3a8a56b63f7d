using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class ShiftOps
{
    /// <summary>Binds the group's instructions.</summary>
    // SAFETY: function pointers to static methods of this class; nothing is dereferenced here.
    public static bool TryBind(in Instruction instruction, ref Op op)
    {
        op.Handler = instruction.Mnemonic switch
        {
            Mnemonic.Shl or Mnemonic.Sal => Single<Shl>(instruction, ref op),
            Mnemonic.Shr => Single<Shr>(instruction, ref op),
            Mnemonic.Sar => Single<Sar>(instruction, ref op),
            Mnemonic.Rol => Single<Rol>(instruction, ref op),
            Mnemonic.Ror => Single<Ror>(instruction, ref op),
            Mnemonic.Rcl => Single<Rcl>(instruction, ref op),
            Mnemonic.Rcr => Single<Rcr>(instruction, ref op),
            Mnemonic.Shld => Double<Left>(instruction, ref op),
            Mnemonic.Shrd => Double<Right>(instruction, ref op),
            _ => 0,
        };
        return op.Handler != 0;
    }

    private static nint Single<TOp>(in Instruction instruction, ref Op op) where TOp : struct, IShift => op.Size switch
    {
        1 => Single<TOp, Word8>(instruction, ref op),
        2 => Single<TOp, Word16>(instruction, ref op),
        4 => Single<TOp, Word32>(instruction, ref op),
        _ => Single<TOp, Word64>(instruction, ref op),
    };

    private static nint Single<TOp, T>(in Instruction instruction, ref Op op) where TOp : struct, IShift where T : unmanaged
    {
        var memory = instruction.Op0Kind == OpKind.Memory;
        if (instruction.Op1Kind == OpKind.Register)
        {
            return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&MemCl<TOp, T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&RegCl<TOp, T>;
        }

        op.Imm &= op.Size == 8 ? 63u : 31u;
        if (memory) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&MemImm<TOp, T>;
        return op.Imm == 0 ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&RegNone<T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&RegImm<TOp, T>;
    }

    private static nint Double<TLeft>(in Instruction instruction, ref Op op) where TLeft : struct
    {
        op.Extra = instruction.Op2Kind == OpKind.Register ? (ushort)0x100 : (byte)op.Imm;
        if (instruction.Op0Kind == OpKind.Memory)
        {
            return op.Size switch
            {
                2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&DoubleMem<TLeft, Word16>,
                4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&DoubleMem<TLeft, Word32>,
                _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&DoubleMem<TLeft, Word64>,
            };
        }

        return op.Size switch
        {
            2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&DoubleReg<TLeft, Word16>,
            4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&DoubleReg<TLeft, Word32>,
            _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&DoubleReg<TLeft, Word64>,
        };
    }
}
