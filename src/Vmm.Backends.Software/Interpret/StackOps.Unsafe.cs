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
            Code.Push_imm16 or Code.Pushw_imm8 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushImm<ushort>,
            Code.Pushd_imm32 or Code.Pushd_imm8 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushImm<uint>,
            Code.Pushq_imm32 or Code.Pushq_imm8 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushImm<ulong>,
            Code.Push_r16 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushReg<ushort>,
            Code.Push_r32 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushReg<uint>,
            Code.Push_r64 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushFlat,
            Code.Push_rm16 => Push<ushort>(instruction),
            Code.Push_rm32 => Push<uint>(instruction),
            Code.Push_rm64 => Push<ulong>(instruction),
            Code.Pop_r16 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopReg<ushort>,
            Code.Pop_r32 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopReg<uint>,
            Code.Pop_r64 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopFlat,
            Code.Pop_rm16 => Pop<ushort>(instruction),
            Code.Pop_rm32 => Pop<uint>(instruction),
            Code.Pop_rm64 => Pop<ulong>(instruction),
            Code.Pushaw => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushAll<ushort>,
            Code.Pushad => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushAll<uint>,
            Code.Popaw => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopAll<ushort>,
            Code.Popad => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopAll<uint>,
            Code.Pushfw => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushFlags<ushort>,
            Code.Pushfd => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushFlags<uint>,
            Code.Pushfq => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushFlags<ulong>,
            Code.Popfw => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopFlags<ushort>,
            Code.Popfd => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopFlags<uint>,
            Code.Popfq => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopFlags<ulong>,
            Code.Enterw_imm16_imm8 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Enter<ushort>,
            Code.Enterd_imm16_imm8 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Enter<uint>,
            Code.Enterq_imm16_imm8 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Enter<ulong>,
            Code.Leavew => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Leave<ushort>,
            Code.Leaved => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Leave<uint>,
            Code.Leaveq => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Leave<ulong>,
            _ => 0,
        };
        return op.Handler != 0;
    }

    private static nint Push<T>(in Instruction instruction) where T : unmanaged =>
        instruction.Op0Kind == OpKind.Memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushMem<T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&PushReg<T>;

    private static nint Pop<T>(in Instruction instruction) where T : unmanaged =>
        instruction.Op0Kind == OpKind.Memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopMem<T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&PopReg<T>;
}
