using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>Near branches, calls and returns, and the closing ops of blocks.</summary>
internal static unsafe partial class ControlOps
{
    // SAFETY: function pointers to static methods of this class; nothing is dereferenced here.
    public static readonly nint BlockEnd = (nint)(delegate*<Vcpu, ref Op, ref Op>)&End;
    public static readonly nint ShadowEnd = (nint)(delegate*<Vcpu, ref Op, ref Op>)&EndInShadow;
    public static readonly nint StepEnd = (nint)(delegate*<Vcpu, ref Op, ref Op>)&EndStep;
    public static readonly nint Stale = (nint)(delegate*<Vcpu, ref Op, ref Op>)&LeaveStale;
    public static readonly nint Undefined = (nint)(delegate*<Vcpu, ref Op, ref Op>)&RaiseUndefined;
    public static readonly nint Stop = (nint)(delegate*<Vcpu, ref Op, ref Op>)&StopHere;

    private static readonly nint[] s_jcc =
    [
        (nint)(delegate*<Vcpu, ref Op, ref Op>)&Jo, (nint)(delegate*<Vcpu, ref Op, ref Op>)&Jno, (nint)(delegate*<Vcpu, ref Op, ref Op>)&Jb, (nint)(delegate*<Vcpu, ref Op, ref Op>)&Jae,
        (nint)(delegate*<Vcpu, ref Op, ref Op>)&Je, (nint)(delegate*<Vcpu, ref Op, ref Op>)&Jne, (nint)(delegate*<Vcpu, ref Op, ref Op>)&Jbe, (nint)(delegate*<Vcpu, ref Op, ref Op>)&Ja,
        (nint)(delegate*<Vcpu, ref Op, ref Op>)&Js, (nint)(delegate*<Vcpu, ref Op, ref Op>)&Jns, (nint)(delegate*<Vcpu, ref Op, ref Op>)&Jp, (nint)(delegate*<Vcpu, ref Op, ref Op>)&Jnp,
        (nint)(delegate*<Vcpu, ref Op, ref Op>)&Jl, (nint)(delegate*<Vcpu, ref Op, ref Op>)&Jge, (nint)(delegate*<Vcpu, ref Op, ref Op>)&Jle, (nint)(delegate*<Vcpu, ref Op, ref Op>)&Jg,
    ];

    /// <summary>Binds near control transfers.</summary>
    public static bool TryBind(in Instruction instruction, uint mode, ref Op op)
    {
        // The operand size decides how much of RIP a branch writes: Extra is 16, 32 or 64.
        op.Handler = Choose(instruction, mode, ref op);
        return op.Handler != 0;
    }

    private static nint Choose(in Instruction instruction, uint mode, ref Op op)
    {
        var code = instruction.Code;
        var memory = instruction.OpCount > 0 && instruction.Op0Kind == OpKind.Memory;
        switch (instruction.FlowControl)
        {
            case FlowControl.ConditionalBranch when instruction.ConditionCode != ConditionCode.None && instruction.Mnemonic is not (Mnemonic.Loop or Mnemonic.Loope or Mnemonic.Loopne):
                op.Extra = BranchBits(instruction.Op0Kind);
                return s_jcc[Condition(instruction.ConditionCode)];
            case FlowControl.ConditionalBranch:
                op.Extra = BranchBits(instruction.Op0Kind);
                op.Size = code switch
                {
                    Code.Jcxz_rel8_16 or Code.Jcxz_rel8_32 or Code.Loop_rel8_16_CX or Code.Loop_rel8_32_CX or Code.Loope_rel8_16_CX
                        or Code.Loope_rel8_32_CX or Code.Loopne_rel8_16_CX or Code.Loopne_rel8_32_CX => 2,
                    Code.Jecxz_rel8_16 or Code.Jecxz_rel8_32 or Code.Jecxz_rel8_64 or Code.Loop_rel8_16_ECX or Code.Loop_rel8_32_ECX
                        or Code.Loop_rel8_64_ECX or Code.Loope_rel8_16_ECX or Code.Loope_rel8_32_ECX or Code.Loope_rel8_64_ECX
                        or Code.Loopne_rel8_16_ECX or Code.Loopne_rel8_32_ECX or Code.Loopne_rel8_64_ECX => 4,
                    _ => 8,
                };
                return instruction.Mnemonic switch
                {
                    Mnemonic.Loop => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Loop,
                    Mnemonic.Loope => (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoopE,
                    Mnemonic.Loopne => (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoopNe,
                    _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&JumpIfCountZero,
                };
        }

        switch (code)
        {
            case Code.Jmp_rel8_16 or Code.Jmp_rel8_32 or Code.Jmp_rel8_64 or Code.Jmp_rel16 or Code.Jmp_rel32_32 or Code.Jmp_rel32_64:
                op.Extra = BranchBits(instruction.Op0Kind);
                return (nint)(delegate*<Vcpu, ref Op, ref Op>)&JumpNear;
            case Code.Call_rel16 or Code.Call_rel32_32 or Code.Call_rel32_64:
                op.Extra = BranchBits(instruction.Op0Kind);
                return op.Extra switch { 16 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&CallNear<Word16>, 32 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&CallNear<Word32>, _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&CallNear<Word64> };
            case Code.Jmp_rm16: return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&JumpMemory<Word16> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&JumpRegister<Word16>;
            case Code.Jmp_rm32: return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&JumpMemory<Word32> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&JumpRegister<Word32>;
            case Code.Jmp_rm64: return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&JumpMemory<Word64> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&JumpRegister<Word64>;
            case Code.Call_rm16: return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&CallMemory<Word16> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&CallRegister<Word16>;
            case Code.Call_rm32: return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&CallMemory<Word32> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&CallRegister<Word32>;
            case Code.Call_rm64: return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&CallMemory<Word64> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&CallRegister<Word64>;
            case Code.Retnw or Code.Retnw_imm16: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Return<Word16>;
            case Code.Retnd or Code.Retnd_imm16: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Return<Word32>;
            case Code.Retnq or Code.Retnq_imm16: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Return<Word64>;
            case Code.Ud2 or Code.Ud0 or Code.Ud0_r16_rm16 or Code.Ud0_r32_rm32 or Code.Ud0_r64_rm64 or Code.Ud1_r16_rm16 or Code.Ud1_r32_rm32 or Code.Ud1_r64_rm64: return Undefined;
            default: return 0;
        }
    }

    private static ushort BranchBits(OpKind kind) => kind switch { OpKind.NearBranch16 => 16, OpKind.NearBranch32 => 32, _ => 64 };

    internal static int Condition(ConditionCode code) => code switch
    {
        ConditionCode.o => 0, ConditionCode.no => 1, ConditionCode.b => 2, ConditionCode.ae => 3, ConditionCode.e => 4, ConditionCode.ne => 5,
        ConditionCode.be => 6, ConditionCode.a => 7, ConditionCode.s => 8, ConditionCode.ns => 9, ConditionCode.p => 10, ConditionCode.np => 11,
        ConditionCode.l => 12, ConditionCode.ge => 13, ConditionCode.le => 14, _ => 15,
    };
}
