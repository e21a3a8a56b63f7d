using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class AluOps
{
    /// <summary>Binds the group's instructions.</summary>
    // SAFETY: function pointers to static methods of this class; nothing is dereferenced here.
    public static bool TryBind(in Instruction instruction, ref Op op)
    {
        op.Handler = instruction.Mnemonic switch
        {
            Mnemonic.Add => Two<Add>(instruction, op),
            Mnemonic.Or => Two<Or>(instruction, op),
            Mnemonic.Adc => Two<Adc>(instruction, op),
            Mnemonic.Sbb => Two<Sbb>(instruction, op),
            Mnemonic.And => Two<And>(instruction, op),
            Mnemonic.Sub => Clears(instruction, op) ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&Clear : Two<Sub>(instruction, op),
            Mnemonic.Xor => Clears(instruction, op) ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&Clear : Two<Xor>(instruction, op),
            Mnemonic.Cmp => Two<Cmp>(instruction, op),
            Mnemonic.Test => IsSelf(instruction, op) ? Self(op) : Two<Test>(instruction, op),
            Mnemonic.Inc => One<Inc>(instruction, op),
            Mnemonic.Dec => One<Dec>(instruction, op),
            Mnemonic.Neg => One<Neg>(instruction, op),
            Mnemonic.Not => One<Not>(instruction, op),
            _ => 0,
        };
        return op.Handler != 0;
    }

    private static bool IsSelf(in Instruction instruction, in Op op) =>
        instruction.Op0Kind == OpKind.Register && instruction.Op1Kind == OpKind.Register && op.A == op.B;

    private static bool Clears(in Instruction instruction, in Op op) => IsSelf(instruction, op) && op.Size >= 4;

    private static nint Self(in Op op) => op.Size switch
    {
        1 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TestSelf<Word8>,
        2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TestSelf<Word16>,
        4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TestSelf<Word32>,
        _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TestSelf<Word64>,
    };

    private static nint Two<TOp>(in Instruction instruction, in Op op) where TOp : struct, IBinary => op.Size switch
    {
        1 => Two<TOp, Word8>(instruction, op),
        2 => Two<TOp, Word16>(instruction, op),
        4 => Two<TOp, Word32>(instruction, op),
        _ => Two<TOp, Word64>(instruction, op),
    };

    /// <summary>Whether the flat forms may try: memory with plain 64-bit addressing, and no LOCK.</summary>
    private static bool IsFlat(in Instruction instruction, in Op op) =>
        op.Address == AddressKind.Flat64 && (op.Flags & OpFlags.Lock) == 0 && (instruction.Op0Kind == OpKind.Memory || (instruction.OpCount > 1 && instruction.Op1Kind == OpKind.Memory));

    private static nint Flat<TOp, T, TAddress>(in Instruction instruction) where TOp : struct, IBinary where T : unmanaged where TAddress : struct, IAddress
    {
        if (instruction.Op0Kind != OpKind.Memory) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&RegFlat<TOp, T, TAddress>;
        return instruction.Op1Kind == OpKind.Register ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&FlatReg<TOp, T, TAddress> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&FlatImm<TOp, T, TAddress>;
    }

    private static nint Two<TOp, T>(in Instruction instruction, in Op op) where TOp : struct, IBinary where T : unmanaged
    {
        if (IsFlat(instruction, op)) return op.Index == Vcpu.ZeroSlot ? Flat<TOp, T, Address.Direct>(instruction) : Flat<TOp, T, Address.Indexed>(instruction);
        if (instruction.Op0Kind == OpKind.Memory)
        {
            return instruction.Op1Kind == OpKind.Register ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&MemReg<TOp, T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&MemImm<TOp, T>;
        }

        return instruction.Op1Kind switch
        {
            OpKind.Register => (nint)(delegate*<Vcpu, ref Op, ref Op>)&RegReg<TOp, T>,
            OpKind.Memory => (nint)(delegate*<Vcpu, ref Op, ref Op>)&RegMem<TOp, T>,
            _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&RegImm<TOp, T>,
        };
    }

    private static nint One<TOp>(in Instruction instruction, in Op op) where TOp : struct, IUnary => op.Size switch
    {
        1 => One<TOp, Word8>(instruction, op),
        2 => One<TOp, Word16>(instruction, op),
        4 => One<TOp, Word32>(instruction, op),
        _ => One<TOp, Word64>(instruction, op),
    };

    private static nint One<TOp, T>(in Instruction instruction, in Op op) where TOp : struct, IUnary where T : unmanaged
    {
        if (instruction.Op0Kind != OpKind.Memory) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Reg<TOp, T>;
        if (!IsFlat(instruction, op)) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Mem<TOp, T>;
        return op.Index == Vcpu.ZeroSlot ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&Flat<TOp, T, Address.Direct> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&Flat<TOp, T, Address.Indexed>;
    }
}
