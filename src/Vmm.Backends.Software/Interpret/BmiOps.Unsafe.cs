using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class BmiOps
{
    /// <summary>Binds the group's instructions.</summary>
    // SAFETY: function pointers to static methods of this class; nothing is dereferenced here.
    public static bool TryBind(in Instruction instruction, ref Op op)
    {
        op.Handler = instruction.Mnemonic switch
        {
            Mnemonic.Andn => OtherFirst<Andn>(instruction, ref op),
            Mnemonic.Pdep => OtherFirst<Pdep>(instruction, ref op),
            Mnemonic.Pext => OtherFirst<Pext>(instruction, ref op),
            Mnemonic.Bextr => OtherLast<Bextr>(instruction, ref op),
            Mnemonic.Bzhi => OtherLast<Bzhi>(instruction, ref op),
            Mnemonic.Shlx => OtherLast<Shlx>(instruction, ref op),
            Mnemonic.Shrx => OtherLast<Shrx>(instruction, ref op),
            Mnemonic.Sarx => OtherLast<Sarx>(instruction, ref op),
            Mnemonic.Blsi => OtherLast<Blsi>(instruction, ref op),
            Mnemonic.Blsmsk => OtherLast<Blsmsk>(instruction, ref op),
            Mnemonic.Blsr => OtherLast<Blsr>(instruction, ref op),
            Mnemonic.Adcx => Accumulating<Adcx>(instruction, ref op),
            Mnemonic.Adox => Accumulating<Adox>(instruction, ref op),
            Mnemonic.Rorx => Rotate(instruction, op),
            _ => 0,
        };
        return op.Handler != 0;
    }

    // dest, other, r/m
    private static nint OtherFirst<TOp>(in Instruction instruction, ref Op op) where TOp : struct, IBmi
    {
        if (instruction.Op2Kind == OpKind.Memory) op.C = op.B;
        else (op.B, op.C) = (op.C, op.B);
        return Choose<TOp>(instruction.Op2Kind, op);
    }

    // dest, r/m, other (or dest, r/m)
    private static nint OtherLast<TOp>(in Instruction instruction, ref Op op) where TOp : struct, IBmi
    {
        if (instruction.Op1Kind == OpKind.Memory) op.C = op.B;
        return Choose<TOp>(instruction.Op1Kind, op);
    }

    // dest += r/m
    private static nint Accumulating<TOp>(in Instruction instruction, ref Op op) where TOp : struct, IBmi
    {
        op.C = op.A;
        return Choose<TOp>(instruction.Op1Kind, op);
    }

    private static nint Choose<TOp>(OpKind kind, in Op op) where TOp : struct, IBmi => (kind == OpKind.Memory, op.Size) switch
    {
        (false, 4) => (nint)(delegate*<Vcpu, ref Op, ref Op>)&FromReg<TOp, Word32>,
        (false, _) => (nint)(delegate*<Vcpu, ref Op, ref Op>)&FromReg<TOp, Word64>,
        (true, 4) => (nint)(delegate*<Vcpu, ref Op, ref Op>)&FromMem<TOp, Word32>,
        _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&FromMem<TOp, Word64>,
    };

    private static nint Rotate(in Instruction instruction, in Op op) => (instruction.Op1Kind == OpKind.Memory, op.Size) switch
    {
        (false, 4) => (nint)(delegate*<Vcpu, ref Op, ref Op>)&RotateReg<Word32>,
        (false, _) => (nint)(delegate*<Vcpu, ref Op, ref Op>)&RotateReg<Word64>,
        (true, 4) => (nint)(delegate*<Vcpu, ref Op, ref Op>)&RotateMem<Word32>,
        _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&RotateMem<Word64>,
    };
}
