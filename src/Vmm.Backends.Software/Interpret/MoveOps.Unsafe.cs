using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class MoveOps
{
    /// <summary>Binds the group's instructions.</summary>
    // SAFETY: function pointers to static methods of this class; nothing is dereferenced here.
    public static bool TryBind(in Instruction instruction, ref Op op)
    {
        op.Handler = Choose(instruction, ref op);
        return op.Handler != 0;
    }

    private static nint Choose(in Instruction instruction, ref Op op)
    {
        if (instruction.ConditionCode != ConditionCode.None)
        {
            if (instruction.OpCount == 2 && instruction.Op0Kind == OpKind.Register && op.Size >= 2) return Conditional(instruction, op);
            if (instruction.OpCount == 1 && op.Size == 1) return Conditional(instruction, op);
        }

        switch (instruction.Mnemonic)
        {
            case Mnemonic.Mov: return Mov(instruction, op);
            case Mnemonic.Movnti: return Mov(instruction, op);
            case Mnemonic.Movzx: return Zero(instruction, op);
            case Mnemonic.Movsx or Mnemonic.Movsxd: return Sign(instruction, op);
            case Mnemonic.Movbe: return instruction.Op0Kind == OpKind.Memory ? StoreSwapped(op) : LoadSwapped(op);
            case Mnemonic.Lea: return LoadAddress(ref op);
            case Mnemonic.Bswap:
                return op.Size switch
                {
                    2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Swap16,
                    4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Swap32,
                    _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Swap64,
                };
            case Mnemonic.Xlatb:
                // AL is added by the handler; the decoder's index would be all of RAX.
                op.Index = Vcpu.ZeroSlot;
                return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Translate;
            case Mnemonic.Cbw: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&WidenAccumulator<Word8, Word16>;
            case Mnemonic.Cwde: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&WidenAccumulator<Word16, Word32>;
            case Mnemonic.Cdqe: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&WidenAccumulator<Word32, Word64>;
            case Mnemonic.Cwd: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SpreadSign<Word16>;
            case Mnemonic.Cdq: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SpreadSign<Word32>;
            case Mnemonic.Cqo: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SpreadSign<Word64>;
            default: return 0;
        }
    }

    private static nint Mov(in Instruction instruction, in Op op)
    {
        for (var i = 0; i < 2; i++)
        {
            // Segment, control and debug registers belong to the system group.
            if (instruction.GetOpKind(i) == OpKind.Register && !instruction.GetOpRegister(i).IsGPR()) return 0;
        }

        return op.Size switch { 1 => Mov<Word8>(instruction, op), 2 => Mov<Word16>(instruction, op), 4 => Mov<Word32>(instruction, op), _ => Mov<Word64>(instruction, op) };
    }

    private static nint Mov<T>(in Instruction instruction, in Op op) where T : unmanaged
    {
        if (IsFlat(instruction, op)) return op.Index == Vcpu.ZeroSlot ? Flat<T, Address.Direct>(instruction) : Flat<T, Address.Indexed>(instruction);
        if (instruction.Op0Kind == OpKind.Memory)
        {
            return instruction.Op1Kind == OpKind.Register ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&MemReg<T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&MemImm<T>;
        }

        return instruction.Op1Kind switch
        {
            OpKind.Register => (nint)(delegate*<Vcpu, ref Op, ref Op>)&RegReg<T>,
            OpKind.Memory => (nint)(delegate*<Vcpu, ref Op, ref Op>)&RegMem<T>,
            _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&RegImm<T>,
        };
    }

    private static bool IsFlat(in Instruction instruction, in Op op) =>
        op.Address == AddressKind.Flat64 && (instruction.Op0Kind == OpKind.Memory || instruction.Op1Kind == OpKind.Memory);

    private static nint Flat<T, TAddress>(in Instruction instruction) where T : unmanaged where TAddress : struct, IAddress
    {
        if (instruction.Op0Kind != OpKind.Memory) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&RegFlat<T, TAddress>;
        return instruction.Op1Kind == OpKind.Register ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&FlatReg<T, TAddress> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&FlatImm<T, TAddress>;
    }

    private static int SourceSize(in Instruction instruction) => instruction.Op1Kind == OpKind.Register ? instruction.Op1Register.GetSize() : instruction.MemorySize.GetSize();

    // Writing 64 bits is what writing 32 zero-extended ones comes to.
    private static nint Zero(in Instruction instruction, in Op op) => (SourceSize(instruction), op.Size) switch
    {
        (1, 2) => Zero<Word8, Word16>(instruction, op),
        (1, _) => Zero<Word8, Word64>(instruction, op),
        (_, 2) => Zero<Word16, Word16>(instruction, op),
        _ => Zero<Word16, Word64>(instruction, op),
    };

    private static nint Zero<TFrom, T>(in Instruction instruction, in Op op) where TFrom : unmanaged where T : unmanaged
    {
        if (instruction.Op1Kind != OpKind.Memory) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ZeroReg<TFrom, T>;
        if (op.Address != AddressKind.Flat64) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ZeroMem<TFrom, T>;
        return op.Index == Vcpu.ZeroSlot ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&ZeroFlat<TFrom, T, Address.Direct> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&ZeroFlat<TFrom, T, Address.Indexed>;
    }

    private static nint Sign(in Instruction instruction, in Op op) => (SourceSize(instruction), op.Size) switch
    {
        (1, 2) => Sign<Word8, Word16>(instruction, op),
        (1, 4) => Sign<Word8, Word32>(instruction, op),
        (1, _) => Sign<Word8, Word64>(instruction, op),
        (2, 2) => Sign<Word16, Word16>(instruction, op),
        (2, 4) => Sign<Word16, Word32>(instruction, op),
        (2, _) => Sign<Word16, Word64>(instruction, op),
        (_, 2) => Sign<Word32, Word16>(instruction, op),
        (_, 4) => Sign<Word32, Word32>(instruction, op),
        _ => Sign<Word32, Word64>(instruction, op),
    };

    private static nint Sign<TFrom, T>(in Instruction instruction, in Op op) where TFrom : unmanaged where T : unmanaged
    {
        if (instruction.Op1Kind != OpKind.Memory) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SignReg<TFrom, T>;
        if (op.Address != AddressKind.Flat64) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SignMem<TFrom, T>;
        return op.Index == Vcpu.ZeroSlot ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&SignFlat<TFrom, T, Address.Direct> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&SignFlat<TFrom, T, Address.Indexed>;
    }

    private static nint LoadSwapped(in Op op) => op.Size switch
    {
        2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&SwappedLoad<Word16>,
        4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&SwappedLoad<Word32>,
        _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&SwappedLoad<Word64>,
    };

    private static nint StoreSwapped(in Op op) => op.Size switch
    {
        2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&SwappedStore<Word16>,
        4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&SwappedStore<Word32>,
        _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&SwappedStore<Word64>,
    };

    private static nint LoadAddress(ref Op op)
    {
        var address = (op.Flags & OpFlags.Address64) != 0 ? 8 : (op.Flags & OpFlags.Address32) != 0 ? 4 : 2;
        if (address >= op.Size)
        {
            if (op.Size == 8 && op.Index == Vcpu.ZeroSlot) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&LeaBase;
            return op.Size switch
            {
                2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Lea<Word16>,
                4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Lea<Word32>,
                _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Lea<Word64>,
            };
        }

        op.Imm = address == 2 ? ushort.MaxValue : uint.MaxValue;
        return op.Size == 4 ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&LeaNarrow<Word32> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&LeaNarrow<Word64>;
    }

    private static nint Conditional(in Instruction instruction, in Op op) => instruction.ConditionCode switch
    {
        ConditionCode.o => Conditional<Condition.O>(instruction, op),
        ConditionCode.no => Conditional<Condition.NO>(instruction, op),
        ConditionCode.b => Conditional<Condition.B>(instruction, op),
        ConditionCode.ae => Conditional<Condition.AE>(instruction, op),
        ConditionCode.e => Conditional<Condition.E>(instruction, op),
        ConditionCode.ne => Conditional<Condition.NE>(instruction, op),
        ConditionCode.be => Conditional<Condition.BE>(instruction, op),
        ConditionCode.a => Conditional<Condition.A>(instruction, op),
        ConditionCode.s => Conditional<Condition.S>(instruction, op),
        ConditionCode.ns => Conditional<Condition.NS>(instruction, op),
        ConditionCode.p => Conditional<Condition.P>(instruction, op),
        ConditionCode.np => Conditional<Condition.NP>(instruction, op),
        ConditionCode.l => Conditional<Condition.L>(instruction, op),
        ConditionCode.ge => Conditional<Condition.GE>(instruction, op),
        ConditionCode.le => Conditional<Condition.LE>(instruction, op),
        _ => Conditional<Condition.G>(instruction, op),
    };

    private static nint Conditional<TCondition>(in Instruction instruction, in Op op) where TCondition : struct, ICondition
    {
        if (instruction.OpCount == 1)
        {
            return instruction.Op0Kind == OpKind.Memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&SetMem<TCondition> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&SetReg<TCondition>;
        }

        return op.Size switch { 2 => MoveIf<TCondition, Word16>(instruction), 4 => MoveIf<TCondition, Word32>(instruction), _ => MoveIf<TCondition, Word64>(instruction) };
    }

    private static nint MoveIf<TCondition, T>(in Instruction instruction) where TCondition : struct, ICondition where T : unmanaged =>
        instruction.Op1Kind == OpKind.Memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&MoveIfMem<TCondition, T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&MoveIfReg<TCondition, T>;
}
