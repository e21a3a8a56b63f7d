using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class StringOps
{
    /// <summary>Binds the group's instructions.</summary>
    // SAFETY: function pointers to static methods of this class; nothing is dereferenced here.
    public static bool TryBind(in Instruction instruction, uint mode, ref Op op)
    {
        var handler = Choose(instruction.Code, (op.Flags & (OpFlags.Rep | OpFlags.Repne)) != 0);
        if (handler == 0) return false;
        op.Handler = handler;
        op.Imm = (op.Flags & OpFlags.Address64) != 0 ? ulong.MaxValue : (op.Flags & OpFlags.Address32) != 0 ? uint.MaxValue : ushort.MaxValue;
        op.Extra = (mode & CpuMode.CodeMask) == CpuMode.Code64 ? (ushort)1 : (ushort)0;
        return true;
    }

    // By code, as MOVSD and CMPSD are also the names of SSE2 instructions.
    private static nint Choose(Code code, bool repeated) => code switch
    {
        Code.Movsb_m8_m8 => Choose<Move, Word8>(repeated),
        Code.Movsw_m16_m16 => Choose<Move, Word16>(repeated),
        Code.Movsd_m32_m32 => Choose<Move, Word32>(repeated),
        Code.Movsq_m64_m64 => Choose<Move, Word64>(repeated),
        Code.Stosb_m8_AL => Choose<Store, Word8>(repeated),
        Code.Stosw_m16_AX => Choose<Store, Word16>(repeated),
        Code.Stosd_m32_EAX => Choose<Store, Word32>(repeated),
        Code.Stosq_m64_RAX => Choose<Store, Word64>(repeated),
        Code.Lodsb_AL_m8 => Choose<Load, Word8>(repeated),
        Code.Lodsw_AX_m16 => Choose<Load, Word16>(repeated),
        Code.Lodsd_EAX_m32 => Choose<Load, Word32>(repeated),
        Code.Lodsq_RAX_m64 => Choose<Load, Word64>(repeated),
        Code.Cmpsb_m8_m8 => Choose<Compare, Word8>(repeated),
        Code.Cmpsw_m16_m16 => Choose<Compare, Word16>(repeated),
        Code.Cmpsd_m32_m32 => Choose<Compare, Word32>(repeated),
        Code.Cmpsq_m64_m64 => Choose<Compare, Word64>(repeated),
        Code.Scasb_AL_m8 => Choose<Scan, Word8>(repeated),
        Code.Scasw_AX_m16 => Choose<Scan, Word16>(repeated),
        Code.Scasd_EAX_m32 => Choose<Scan, Word32>(repeated),
        Code.Scasq_RAX_m64 => Choose<Scan, Word64>(repeated),
        _ => 0,
    };

    private static nint Choose<TOp, T>(bool repeated) where TOp : struct, IString where T : unmanaged =>
        repeated ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&Repeat<TOp, T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&Once<TOp, T>;
}
