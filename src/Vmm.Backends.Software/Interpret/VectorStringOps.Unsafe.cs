using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class VectorStringOps
{
    /// <summary>The handler, or 0.</summary>
    public static nint Choose(in Instruction i, ref Op op)
    {
        var variant = i.Mnemonic switch
        {
            Mnemonic.Pcmpestri or Mnemonic.Vpcmpestri => Explicit,
            Mnemonic.Pcmpestri64 or Mnemonic.Vpcmpestri64 => Explicit | WideLengths,
            Mnemonic.Pcmpestrm or Mnemonic.Vpcmpestrm => Explicit | Mask,
            Mnemonic.Pcmpestrm64 or Mnemonic.Vpcmpestrm64 => Explicit | WideLengths | Mask,
            Mnemonic.Pcmpistri or Mnemonic.Vpcmpistri => 0,
            Mnemonic.Pcmpistrm or Mnemonic.Vpcmpistrm => Mask,
            _ => -1,
        };
        if (variant < 0) return 0;
        op.Extra = (ushort)(VectorHandlers.IsVex(i) ? variant | Vex : variant);

        // SAFETY: function pointers to static methods; nothing is dereferenced in this file.
        return VectorHandlers.HasMemory(i) ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&CompareMemory : (nint)(delegate*<Vcpu, ref Op, ref Op>)&CompareRegister;
    }
}
