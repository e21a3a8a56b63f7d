using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class StackOps
{
    /// <summary>Binds the group's instructions.</summary>
    // SAFETY: function pointers to static methods of this class; nothing is dereferenced here.
    public static bool TryBind(in Instruction instruction, ref Op op)
    {
        op.Handler = instruction.Code switch
        {
            Code.Push_imm16 or Code.Pushw_imm8 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushImm<Word16>,
            Code.Pushd_imm32 or Code.Pushd_imm8 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushImm<Word32>,
            Code.Pushq_imm32 or Code.Pushq_imm8 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushImm<Word64>,
            Code.Push_r16 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushReg<Word16>,
            Code.Push_r32 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushReg<Word32>,
            Code.Push_r64 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushFlat,
            Code.Push_rm16 => Push<Word16>(instruction),
            Code.Push_rm32 => Push<Word32>(instruction),
            Code.Push_rm64 => Push<Word64>(instruction),
            Code.Pop_r16 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopReg<Word16>,
            Code.Pop_r32 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopReg<Word32>,
            Code.Pop_r64 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopFlat,
            Code.Pop_rm16 => Pop<Word16>(instruction),
            Code.Pop_rm32 => Pop<Word32>(instruction),
            Code.Pop_rm64 => Pop<Word64>(instruction),
            Code.Pushaw => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushAll<Word16>,
            Code.Pushad => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushAll<Word32>,
            Code.Popaw => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopAll<Word16>,
            Code.Popad => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopAll<Word32>,
            Code.Pushfw => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushFlags<Word16>,
            Code.Pushfd => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushFlags<Word32>,
            Code.Pushfq => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushFlags<Word64>,
            Code.Popfw => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopFlags<Word16>,
            Code.Popfd => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopFlags<Word32>,
            Code.Popfq => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopFlags<Word64>,
            Code.Enterw_imm16_imm8 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Enter<Word16>,
            Code.Enterd_imm16_imm8 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Enter<Word32>,
            Code.Enterq_imm16_imm8 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Enter<Word64>,
            Code.Leavew => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Leave<Word16>,
            Code.Leaved => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Leave<Word32>,
            Code.Leaveq => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Leave<Word64>,
            _ => 0,
        };
        return op.Handler != 0;
    }

    private static nint Push<T>(in Instruction instruction) where T : unmanaged =>
        instruction.Op0Kind == OpKind.Memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushMem<T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushReg<T>;

    private static nint Pop<T>(in Instruction instruction) where T : unmanaged =>
        instruction.Op0Kind == OpKind.Memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopMem<T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopReg<T>;
}
