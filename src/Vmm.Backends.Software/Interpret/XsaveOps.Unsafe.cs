using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class XsaveOps
{
    /// <summary>Binds FXSAVE, FXRSTOR, the XSAVE family, XGETBV, LDMXCSR and STMXCSR.</summary>
    public static bool TryBind(in Instruction instruction, ref Op op)
    {
        // SAFETY: function pointers to static methods of this class; nothing is dereferenced here.
        (op.Handler, op.Extra, op.Size) = instruction.Mnemonic switch
        {
            Mnemonic.Fxsave => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&SaveLegacy, (ushort)0, (byte)4),
            Mnemonic.Fxsave64 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&SaveLegacy, (ushort)0, (byte)8),
            Mnemonic.Fxrstor => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&RestoreLegacy, (ushort)0, (byte)4),
            Mnemonic.Fxrstor64 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&RestoreLegacy, (ushort)0, (byte)8),
            Mnemonic.Xsave => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Save, (ushort)0, (byte)4),
            Mnemonic.Xsave64 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Save, (ushort)0, (byte)8),
            Mnemonic.Xsaveopt => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Save, (ushort)1, (byte)4),
            Mnemonic.Xsaveopt64 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Save, (ushort)1, (byte)8),
            Mnemonic.Xsavec => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Save, (ushort)2, (byte)4),
            Mnemonic.Xsavec64 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Save, (ushort)2, (byte)8),
            Mnemonic.Xrstor => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Restore, (ushort)0, (byte)4),
            Mnemonic.Xrstor64 => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&Restore, (ushort)0, (byte)8),
            Mnemonic.Xgetbv => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&ReadExtendedControl, (ushort)0, (byte)4),
            Mnemonic.Ldmxcsr or Mnemonic.Vldmxcsr => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&LoadMxcsr, (ushort)(instruction.Mnemonic == Mnemonic.Ldmxcsr ? 0 : 1), (byte)4),
            Mnemonic.Stmxcsr or Mnemonic.Vstmxcsr => ((nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreMxcsr, (ushort)(instruction.Mnemonic == Mnemonic.Stmxcsr ? 0 : 1), (byte)4),
            _ => ((nint)0, op.Extra, op.Size),
        };
        return op.Handler != 0;
    }
}
