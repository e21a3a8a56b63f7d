using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class BitOps
{
    /// <summary>Binds the group's instructions.</summary>
    // SAFETY: function pointers to static methods of this class; nothing is dereferenced here.
    public static bool TryBind(in Instruction instruction, ref Op op)
    {
        op.Handler = instruction.Mnemonic switch
        {
            Mnemonic.Bt => Test<Keep>(instruction, op),
            Mnemonic.Bts => Test<Set>(instruction, op),
            Mnemonic.Btr => Test<Clear>(instruction, op),
            Mnemonic.Btc => Test<Flip>(instruction, op),
            Mnemonic.Bsf => Scan<ScanForward>(instruction, op),
            Mnemonic.Bsr => Scan<ScanReverse>(instruction, op),
            Mnemonic.Tzcnt => Scan<TrailingZeros>(instruction, op),
            Mnemonic.Lzcnt => Scan<LeadingZeros>(instruction, op),
            Mnemonic.Popcnt => Scan<Population>(instruction, op),
            Mnemonic.Crc32 => Crc(instruction),
            _ => 0,
        };
        return op.Handler != 0;
    }

    private static nint Test<TOp>(in Instruction instruction, in Op op) where TOp : struct, IChange => op.Size switch
    {
        2 => Test<TOp, Word16>(instruction),
        4 => Test<TOp, Word32>(instruction),
        _ => Test<TOp, Word64>(instruction),
    };

    private static nint Test<TOp, T>(in Instruction instruction) where TOp : struct, IChange where T : unmanaged =>
        (instruction.Op0Kind == OpKind.Memory, instruction.Op1Kind == OpKind.Register) switch
        {
            (false, true) => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TestRegReg<TOp, T>,
            (false, false) => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TestRegImm<TOp, T>,
            (true, true) => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TestMemReg<TOp, T>,
            _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TestMemImm<TOp, T>,
        };

    private static nint Scan<TOp>(in Instruction instruction, in Op op) where TOp : struct, IScan => op.Size switch
    {
        2 => Scan<TOp, Word16>(instruction),
        4 => Scan<TOp, Word32>(instruction),
        _ => Scan<TOp, Word64>(instruction),
    };

    private static nint Scan<TOp, T>(in Instruction instruction) where TOp : struct, IScan where T : unmanaged =>
        instruction.Op1Kind == OpKind.Memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&ScanMem<TOp, T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&ScanReg<TOp, T>;

    private static nint Crc(in Instruction instruction) =>
        (instruction.Op1Kind == OpKind.Memory ? instruction.MemorySize.GetSize() : instruction.Op1Register.GetSize()) switch
        {
            1 => Crc<Word8>(instruction),
            2 => Crc<Word16>(instruction),
            4 => Crc<Word32>(instruction),
            _ => Crc<Word64>(instruction),
        };

    private static nint Crc<T>(in Instruction instruction) where T : unmanaged =>
        instruction.Op1Kind == OpKind.Memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&CrcMem<T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&CrcReg<T>;
}
