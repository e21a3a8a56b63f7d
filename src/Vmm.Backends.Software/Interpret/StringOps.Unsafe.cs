using System.Numerics;
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
        Code.Movsb_m8_m8 => Choose<Move, byte>(repeated),
        Code.Movsw_m16_m16 => Choose<Move, ushort>(repeated),
        Code.Movsd_m32_m32 => Choose<Move, uint>(repeated),
        Code.Movsq_m64_m64 => Choose<Move, ulong>(repeated),
        Code.Stosb_m8_AL => Choose<Store, byte>(repeated),
        Code.Stosw_m16_AX => Choose<Store, ushort>(repeated),
        Code.Stosd_m32_EAX => Choose<Store, uint>(repeated),
        Code.Stosq_m64_RAX => Choose<Store, ulong>(repeated),
        Code.Lodsb_AL_m8 => Choose<Load, byte>(repeated),
        Code.Lodsw_AX_m16 => Choose<Load, ushort>(repeated),
        Code.Lodsd_EAX_m32 => Choose<Load, uint>(repeated),
        Code.Lodsq_RAX_m64 => Choose<Load, ulong>(repeated),
        Code.Cmpsb_m8_m8 => Choose<Compare, byte>(repeated),
        Code.Cmpsw_m16_m16 => Choose<Compare, ushort>(repeated),
        Code.Cmpsd_m32_m32 => Choose<Compare, uint>(repeated),
        Code.Cmpsq_m64_m64 => Choose<Compare, ulong>(repeated),
        Code.Scasb_AL_m8 => Choose<Scan, byte>(repeated),
        Code.Scasw_AX_m16 => Choose<Scan, ushort>(repeated),
        Code.Scasd_EAX_m32 => Choose<Scan, uint>(repeated),
        Code.Scasq_RAX_m64 => Choose<Scan, ulong>(repeated),
        _ => 0,
    };

    private static nint Choose<TOp, T>(bool repeated) where TOp : struct, IString where T : unmanaged, IBinaryInteger<T> =>
        repeated ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&Repeat<TOp, T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&Once<TOp, T>;
}
