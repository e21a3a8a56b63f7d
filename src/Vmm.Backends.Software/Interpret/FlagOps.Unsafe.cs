using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class FlagOps
{
    /// <summary>Binds the group's instructions.</summary>
    // SAFETY: function pointers to static methods of this class; nothing is dereferenced here.
    public static bool TryBind(in Instruction instruction, ref Op op)
    {
        op.Handler = instruction.Mnemonic switch
        {
            Mnemonic.Lahf => (nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadFlags,
            Mnemonic.Sahf => (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreFlags,
            Mnemonic.Clc => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ClearCarry,
            Mnemonic.Stc => (nint)(delegate*<Vcpu, ref Op, ref Op>)&SetCarry,
            Mnemonic.Cmc => (nint)(delegate*<Vcpu, ref Op, ref Op>)&FlipCarry,
            Mnemonic.Cld => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ClearDirection,
            Mnemonic.Std => (nint)(delegate*<Vcpu, ref Op, ref Op>)&SetDirection,
            Mnemonic.Salc => (nint)(delegate*<Vcpu, ref Op, ref Op>)&CarryToAl,
            _ => 0,
        };
        return op.Handler != 0;
    }
}
