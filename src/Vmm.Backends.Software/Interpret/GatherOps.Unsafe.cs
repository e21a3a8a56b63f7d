using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class GatherOps
{
    /// <summary>The handler, or 0.</summary>
    public static nint Choose(in Instruction i, ref Op op)
    {
        // SAFETY: function pointers to static methods; nothing is dereferenced in this file.
        var (handler, element, index) = i.Mnemonic switch
        {
            Mnemonic.Vpgatherdd or Mnemonic.Vgatherdps => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Gather<uint, int>, 4, 4),
            Mnemonic.Vpgatherqd or Mnemonic.Vgatherqps => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Gather<uint, long>, 4, 8),
            Mnemonic.Vpgatherdq or Mnemonic.Vgatherdpd => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Gather<ulong, int>, 8, 4),
            Mnemonic.Vpgatherqq or Mnemonic.Vgatherqpd => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Gather<ulong, long>, 8, 8),
            _ => (0, 0, 0),
        };
        if (handler == 0) return 0;
        op.D = op.Index;
        op.Index = Vcpu.ZeroSlot;
        // The three registers must differ.
        if (op.A == op.B || op.A == op.D || op.B == op.D) return ControlOps.Undefined;
        var vector = i.Op0Register.GetSize();
        op.Extra = (ushort)Math.Min(vector / element, i.MemoryIndex.GetSize() / index);
        return handler;
    }
}
