using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class DecimalOps
{
    /// <summary>Binds the group's instructions.</summary>
    // SAFETY: function pointers to static methods of this class; nothing is dereferenced here.
    public static bool TryBind(in Instruction instruction, ref Op op)
    {
        op.Handler = instruction.Mnemonic switch
        {
            Mnemonic.Daa => (nint)(delegate*<Vcpu, ref Op, ref Op>)&AdjustAdd,
            Mnemonic.Das => (nint)(delegate*<Vcpu, ref Op, ref Op>)&AdjustSub,
            Mnemonic.Aaa => (nint)(delegate*<Vcpu, ref Op, ref Op>)&AsciiAdd,
            Mnemonic.Aas => (nint)(delegate*<Vcpu, ref Op, ref Op>)&AsciiSub,
            Mnemonic.Aam => (nint)(delegate*<Vcpu, ref Op, ref Op>)&AsciiMul,
            Mnemonic.Aad => (nint)(delegate*<Vcpu, ref Op, ref Op>)&AsciiDiv,
            _ => 0,
        };
        return op.Handler != 0;
    }
}
