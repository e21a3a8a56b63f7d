using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class SystemOps
{
    /// <summary>Binds system instructions, segment registers, ports and far transfers.</summary>
    public static bool TryBind(in Instruction instruction, uint mode, ref Op op)
    {
        if (FarOps.TryBind(instruction, ref op)) return true;
        var memory = false;
        for (var i = 0; i < instruction.OpCount; i++) memory |= instruction.GetOpKind(i) == OpKind.Memory;
        var operandSize = op.Size;
        op.Handler = Choose(instruction, memory, ref op, mode);
        if (op.Handler == 0)
        {
            op.Size = operandSize;
            return false;
        }

        if (memory) op.D = 1;
        return true;
    }

    // SAFETY: function pointers to static methods; nothing is dereferenced here.
    private static nint Choose(in Instruction instruction, bool memory, ref Op op, uint mode)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Mov: return ChooseMove(instruction, memory, ref op, mode);
            case Mnemonic.Push when instruction.Op0Kind == OpKind.Register && instruction.Op0Register.IsSegmentRegister():
                op.Size = instruction.Code switch { Code.Pushw_ES or Code.Pushw_CS or Code.Pushw_SS or Code.Pushw_DS or Code.Pushw_FS or Code.Pushw_GS => 2, Code.Pushq_FS or Code.Pushq_GS => 8, _ => 4 };
                return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SegmentOps.Push;
            case Mnemonic.Pop when instruction.Op0Kind == OpKind.Register && instruction.Op0Register.IsSegmentRegister():
                op.Size = instruction.Code switch { Code.Popw_ES or Code.Popw_CS or Code.Popw_SS or Code.Popw_DS or Code.Popw_FS or Code.Popw_GS => 2, Code.Popq_FS or Code.Popq_GS => 8, _ => 4 };
                return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SegmentOps.Pop;
            case Mnemonic.Les: return Pointer(ref op, 0);
            case Mnemonic.Lss: return Pointer(ref op, 2);
            case Mnemonic.Lds: return Pointer(ref op, 3);
            case Mnemonic.Lfs: return Pointer(ref op, 4);
            case Mnemonic.Lgs: return Pointer(ref op, 5);
            case Mnemonic.Sgdt: op.Extra = 0; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SegmentOps.StoreTable;
            case Mnemonic.Sidt: op.Extra = 1; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SegmentOps.StoreTable;
            case Mnemonic.Lgdt or Mnemonic.Lidt:
                op.Extra = instruction.Mnemonic == Mnemonic.Lidt ? (ushort)1 : (ushort)0;
                op.Size = instruction.Code is Code.Lgdt_m1632_16 or Code.Lidt_m1632_16 ? (byte)2 : (byte)4;
                return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SegmentOps.LoadTable;
            case Mnemonic.Sldt or Mnemonic.Str:
                op.Extra = instruction.Mnemonic == Mnemonic.Sldt ? (ushort)6 : (ushort)7;
                return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&SegmentOps.StoreSystemMemory : (nint)(delegate*<Vcpu, ref Op, ref Op>)&SegmentOps.StoreSystemRegister;
            case Mnemonic.Lldt or Mnemonic.Ltr:
                op.Extra = instruction.Mnemonic == Mnemonic.Lldt ? (ushort)6 : (ushort)7;
                return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SegmentOps.LoadSystem;
            case Mnemonic.Lar: op.Extra = 0; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SegmentOps.Verify;
            case Mnemonic.Lsl: op.Extra = 1; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SegmentOps.Verify;
            case Mnemonic.Verr: op.Extra = 2; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SegmentOps.Verify;
            case Mnemonic.Verw: op.Extra = 3; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SegmentOps.Verify;
            case Mnemonic.Arpl: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SegmentOps.AdjustRpl;
            case Mnemonic.In or Mnemonic.Out:
                op.Size = instruction.Code switch { Code.In_AL_imm8 or Code.In_AL_DX or Code.Out_imm8_AL or Code.Out_DX_AL => 1, Code.In_AX_imm8 or Code.In_AX_DX or Code.Out_imm8_AX or Code.Out_DX_AX => 2, _ => 4 };
                op.Extra = instruction.Op0Kind == OpKind.Immediate8 || instruction.Op1Kind == OpKind.Immediate8 ? (ushort)0 : (ushort)1;
                return instruction.Mnemonic == Mnemonic.In ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&PortOps.In : (nint)(delegate*<Vcpu, ref Op, ref Op>)&PortOps.Out;
            case Mnemonic.Insb or Mnemonic.Insw or Mnemonic.Insd:
                op.Size = instruction.Mnemonic switch { Mnemonic.Insb => 1, Mnemonic.Insw => 2, _ => 4 };
                return (nint)(delegate*<Vcpu, ref Op, ref Op>)&PortOps.InString;
            case Mnemonic.Outsb or Mnemonic.Outsw or Mnemonic.Outsd:
                op.Size = instruction.Mnemonic switch { Mnemonic.Outsb => 1, Mnemonic.Outsw => 2, _ => 4 };
                return (nint)(delegate*<Vcpu, ref Op, ref Op>)&PortOps.OutString;
            case Mnemonic.Clts: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ClearTaskSwitched;
            case Mnemonic.Smsw: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreStatus;
            case Mnemonic.Lmsw: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadStatus;
            case Mnemonic.Invlpg: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&InvalidatePage;
            case Mnemonic.Invpcid: op.Size = (mode & CpuMode.CodeMask) == CpuMode.Code64 ? (byte)8 : (byte)4; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&InvalidatePcid;
            case Mnemonic.Invd or Mnemonic.Wbinvd or Mnemonic.Wbnoinvd: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&InvalidateCaches;
            case Mnemonic.Rdmsr: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ReadMsr;
            case Mnemonic.Wrmsr: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&WriteMsr;
            case Mnemonic.Rdtsc: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ReadTsc;
            case Mnemonic.Rdtscp: op.Extra = 1; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ReadTsc;
            case Mnemonic.Rdpid: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ReadProcessorId;
            case Mnemonic.Rdpmc: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ReadCounter;
            case Mnemonic.Cpuid: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Identify;
            case Mnemonic.Cli: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ClearInterrupts;
            case Mnemonic.Sti: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SetInterrupts;
            case Mnemonic.Hlt: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&HaltUntilInterrupt;
            case Mnemonic.Monitor: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ArmMonitor;
            case Mnemonic.Mwait: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&WaitMonitor;
            case Mnemonic.Swapgs: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SwapGs;
            case Mnemonic.Rdfsbase: op.Extra = 4; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ReadBase;
            case Mnemonic.Rdgsbase: op.Extra = 5; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ReadBase;
            case Mnemonic.Wrfsbase: op.Extra = 4; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&WriteBase;
            case Mnemonic.Wrgsbase: op.Extra = 5; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&WriteBase;
            case Mnemonic.Clac: op.Extra = 0; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SetAccess;
            case Mnemonic.Stac: op.Extra = 1; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SetAccess;
            case Mnemonic.Xsetbv: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SetExtendedControl;
            case Mnemonic.Rdpkru: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ReadKeys;
            case Mnemonic.Wrpkru: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&WriteKeys;
            case Mnemonic.Syscall: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Syscall;
            case Mnemonic.Sysret or Mnemonic.Sysretq: op.Size = instruction.Mnemonic == Mnemonic.Sysretq ? (byte)8 : (byte)4; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Sysret;
            case Mnemonic.Sysenter: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Sysenter;
            case Mnemonic.Sysexit or Mnemonic.Sysexitq: op.Size = instruction.Mnemonic == Mnemonic.Sysexitq ? (byte)8 : (byte)4; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Sysexit;
            default: return 0;
        }
    }

    private static nint Pointer(ref Op op, ushort segment)
    {
        op.Extra = segment;
        return (nint)(delegate*<Vcpu, ref Op, ref Op>)&SegmentOps.LoadPointer;
    }

    private static nint ChooseMove(in Instruction instruction, bool memory, ref Op op, uint mode)
    {
        var wide = (mode & CpuMode.CodeMask) == CpuMode.Code64 ? (byte)8 : (byte)4;
        switch (instruction.Code)
        {
            case Code.Mov_rm16_Sreg or Code.Mov_r32m16_Sreg or Code.Mov_r64m16_Sreg:
                op.Extra = OperandDecoder.Number(instruction.Op1Register);
                return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&SegmentOps.StoreToMemory : (nint)(delegate*<Vcpu, ref Op, ref Op>)&SegmentOps.StoreToRegister;
            case Code.Mov_Sreg_rm16 or Code.Mov_Sreg_r32m16 or Code.Mov_Sreg_r64m16:
                op.Extra = OperandDecoder.Number(instruction.Op0Register);
                if (op.Extra == 1) return ControlOps.Undefined;
                return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&SegmentOps.LoadFromMemory : (nint)(delegate*<Vcpu, ref Op, ref Op>)&SegmentOps.LoadFromRegister;
            case Code.Mov_r32_cr or Code.Mov_r64_cr: op.Size = wide; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ReadControl;
            case Code.Mov_cr_r32 or Code.Mov_cr_r64: op.Size = wide; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&WriteControl;
            case Code.Mov_r32_dr or Code.Mov_r64_dr: op.Size = wide; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ReadDebug;
            case Code.Mov_dr_r32 or Code.Mov_dr_r64: op.Size = wide; return (nint)(delegate*<Vcpu, ref Op, ref Op>)&WriteDebug;
            default: return 0;
        }
    }
}
