using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class VectorOps
{
    /// <summary>Binds the group's instructions.</summary>
    public static bool TryBind(in Instruction instruction, uint mode, ref Op op)
    {
        // MOVSD and CMPSD are also string instructions.
        if (instruction.IsStringInstruction) return false;

        // MMX registers belong to the x87 unit's group; what has no vector register either is none of these, but for a scalar in memory that becomes an integer.
        var vector = instruction.Encoding == EncodingKind.VEX || instruction.Mnemonic is Mnemonic.Cvtss2si or Mnemonic.Cvtsd2si or Mnemonic.Cvttss2si or Mnemonic.Cvttsd2si;
        for (var n = 0; n < instruction.OpCount; n++)
        {
            if (instruction.GetOpKind(n) != OpKind.Register) continue;
            var register = instruction.GetOpRegister(n);
            if (register.IsMM()) return false;
            vector |= register.IsXMM();
        }

        if (!vector) return false;
        var handler = VectorMoveOps.Choose(instruction, mode, ref op);
        if (handler == 0) handler = VectorIntegerOps.Choose(instruction, ref op);
        if (handler == 0) handler = VectorShuffleOps.Choose(instruction, ref op);
        if (handler == 0) handler = VectorFloatOps.Choose(instruction, ref op);
        if (handler == 0) handler = VectorConvertOps.Choose(instruction, ref op);
        if (handler == 0) handler = FmaOps.Choose(instruction, ref op);
        if (handler == 0) handler = CryptoOps.Choose(instruction, ref op);
        if (handler == 0) handler = VectorStringOps.Choose(instruction, ref op);
        if (handler == 0) handler = GatherOps.Choose(instruction, ref op);
        if (handler == 0) return false;

        // SAFETY: function pointers to static methods; nothing is dereferenced in this file.
        if (instruction.Encoding == EncodingKind.VEX)
        {
            if ((mode & CpuMode.Avx) == 0) handler = (nint)(delegate*<Vcpu, ref Op, ref Op>)&RaiseAvx;
        }
        else if ((mode & CpuMode.Sse) == 0)
        {
            handler = (nint)(delegate*<Vcpu, ref Op, ref Op>)&RaiseSse;
        }

        op.Handler = handler;
        return true;
    }
}
