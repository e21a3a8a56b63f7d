using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class FarOps
{
    /// <summary>Binds far transfers and software interrupts.</summary>
    public static bool TryBind(in Instruction instruction, ref Op op)
    {
        // SAFETY: function pointers to static methods of this class; nothing is dereferenced here.
        (op.Handler, op.Size) = instruction.Code switch
        {
            Code.Jmp_ptr1616 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&JumpPointer, (byte)2),
            Code.Jmp_ptr1632 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&JumpPointer, (byte)4),
            Code.Call_ptr1616 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&CallPointer, (byte)2),
            Code.Call_ptr1632 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&CallPointer, (byte)4),
            Code.Jmp_m1616 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&JumpMemory, (byte)2),
            Code.Jmp_m1632 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&JumpMemory, (byte)4),
            Code.Jmp_m1664 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&JumpMemory, (byte)8),
            Code.Call_m1616 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&CallMemory, (byte)2),
            Code.Call_m1632 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&CallMemory, (byte)4),
            Code.Call_m1664 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&CallMemory, (byte)8),
            Code.Retfw or Code.Retfw_imm16 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Return, (byte)2),
            Code.Retfd or Code.Retfd_imm16 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Return, (byte)4),
            Code.Retfq or Code.Retfq_imm16 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Return, (byte)8),
            Code.Iretw => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&InterruptReturn, (byte)2),
            Code.Iretd => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&InterruptReturn, (byte)4),
            Code.Iretq => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&InterruptReturn, (byte)8),
            Code.Int_imm8 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&SoftwareInterrupt, (byte)0),
            Code.Int3 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Breakpoint, (byte)0),
            Code.Int1 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&DebugInterrupt, (byte)0),
            Code.Into => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Overflow, (byte)0),
            _ => ((nint)0, op.Size),
        };
        return op.Handler != 0;
    }
}
