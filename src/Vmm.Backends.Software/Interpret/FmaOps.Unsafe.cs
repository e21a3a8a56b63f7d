using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using static Vmm.Backends.Software.Interpret.VectorHandlers;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class FmaOps
{
    // SAFETY: function pointers to static methods; nothing is dereferenced in this file.

    /// <summary>The handler, or 0.</summary>
    public static nint Choose(in Instruction i, ref Op op)
    {
        switch (i.Mnemonic)
        {
            case Mnemonic.Vfmadd132ps or Mnemonic.Vfmadd213ps or Mnemonic.Vfmadd231ps: return Packed<MulAdd, float>(i, ref op);
            case Mnemonic.Vfmadd132pd or Mnemonic.Vfmadd213pd or Mnemonic.Vfmadd231pd: return Packed<MulAdd, double>(i, ref op);
            case Mnemonic.Vfmadd132ss or Mnemonic.Vfmadd213ss or Mnemonic.Vfmadd231ss: return Scalar<MulAdd, float>(i, ref op);
            case Mnemonic.Vfmadd132sd or Mnemonic.Vfmadd213sd or Mnemonic.Vfmadd231sd: return Scalar<MulAdd, double>(i, ref op);
            case Mnemonic.Vfmsub132ps or Mnemonic.Vfmsub213ps or Mnemonic.Vfmsub231ps: return Packed<MulSub, float>(i, ref op);
            case Mnemonic.Vfmsub132pd or Mnemonic.Vfmsub213pd or Mnemonic.Vfmsub231pd: return Packed<MulSub, double>(i, ref op);
            case Mnemonic.Vfmsub132ss or Mnemonic.Vfmsub213ss or Mnemonic.Vfmsub231ss: return Scalar<MulSub, float>(i, ref op);
            case Mnemonic.Vfmsub132sd or Mnemonic.Vfmsub213sd or Mnemonic.Vfmsub231sd: return Scalar<MulSub, double>(i, ref op);
            case Mnemonic.Vfnmadd132ps or Mnemonic.Vfnmadd213ps or Mnemonic.Vfnmadd231ps: return Packed<NegMulAdd, float>(i, ref op);
            case Mnemonic.Vfnmadd132pd or Mnemonic.Vfnmadd213pd or Mnemonic.Vfnmadd231pd: return Packed<NegMulAdd, double>(i, ref op);
            case Mnemonic.Vfnmadd132ss or Mnemonic.Vfnmadd213ss or Mnemonic.Vfnmadd231ss: return Scalar<NegMulAdd, float>(i, ref op);
            case Mnemonic.Vfnmadd132sd or Mnemonic.Vfnmadd213sd or Mnemonic.Vfnmadd231sd: return Scalar<NegMulAdd, double>(i, ref op);
            case Mnemonic.Vfnmsub132ps or Mnemonic.Vfnmsub213ps or Mnemonic.Vfnmsub231ps: return Packed<NegMulSub, float>(i, ref op);
            case Mnemonic.Vfnmsub132pd or Mnemonic.Vfnmsub213pd or Mnemonic.Vfnmsub231pd: return Packed<NegMulSub, double>(i, ref op);
            case Mnemonic.Vfnmsub132ss or Mnemonic.Vfnmsub213ss or Mnemonic.Vfnmsub231ss: return Scalar<NegMulSub, float>(i, ref op);
            case Mnemonic.Vfnmsub132sd or Mnemonic.Vfnmsub213sd or Mnemonic.Vfnmsub231sd: return Scalar<NegMulSub, double>(i, ref op);
            case Mnemonic.Vfmaddsub132ps or Mnemonic.Vfmaddsub213ps or Mnemonic.Vfmaddsub231ps: return Packed<MulAddSub, float>(i, ref op);
            case Mnemonic.Vfmaddsub132pd or Mnemonic.Vfmaddsub213pd or Mnemonic.Vfmaddsub231pd: return Packed<MulAddSub, double>(i, ref op);
            case Mnemonic.Vfmsubadd132ps or Mnemonic.Vfmsubadd213ps or Mnemonic.Vfmsubadd231ps: return Packed<MulSubAdd, float>(i, ref op);
            case Mnemonic.Vfmsubadd132pd or Mnemonic.Vfmsubadd213pd or Mnemonic.Vfmsubadd231pd: return Packed<MulSubAdd, double>(i, ref op);
            default: return 0;
        }
    }

    /// <summary>Orders the sources as the formula has them: 132 is 1*3+2, 213 is 2*1+3, 231 is 2*3+1. True: memory is the addend.</summary>
    private static bool Order(in Instruction i, ref Op op)
    {
        var (first, second, third) = (op.A, op.B, op.C);
        switch (i.Mnemonic)
        {
            case Mnemonic.Vfmadd213ps or Mnemonic.Vfmadd213pd or Mnemonic.Vfmadd213ss or Mnemonic.Vfmadd213sd
                or Mnemonic.Vfmsub213ps or Mnemonic.Vfmsub213pd or Mnemonic.Vfmsub213ss or Mnemonic.Vfmsub213sd
                or Mnemonic.Vfnmadd213ps or Mnemonic.Vfnmadd213pd or Mnemonic.Vfnmadd213ss or Mnemonic.Vfnmadd213sd
                or Mnemonic.Vfnmsub213ps or Mnemonic.Vfnmsub213pd or Mnemonic.Vfnmsub213ss or Mnemonic.Vfnmsub213sd
                or Mnemonic.Vfmaddsub213ps or Mnemonic.Vfmaddsub213pd or Mnemonic.Vfmsubadd213ps or Mnemonic.Vfmsubadd213pd:
                (op.B, op.C, op.D) = (second, first, third);
                return true;
            case Mnemonic.Vfmadd231ps or Mnemonic.Vfmadd231pd or Mnemonic.Vfmadd231ss or Mnemonic.Vfmadd231sd
                or Mnemonic.Vfmsub231ps or Mnemonic.Vfmsub231pd or Mnemonic.Vfmsub231ss or Mnemonic.Vfmsub231sd
                or Mnemonic.Vfnmadd231ps or Mnemonic.Vfnmadd231pd or Mnemonic.Vfnmadd231ss or Mnemonic.Vfnmadd231sd
                or Mnemonic.Vfnmsub231ps or Mnemonic.Vfnmsub231pd or Mnemonic.Vfnmsub231ss or Mnemonic.Vfnmsub231sd
                or Mnemonic.Vfmaddsub231ps or Mnemonic.Vfmaddsub231pd or Mnemonic.Vfmsubadd231ps or Mnemonic.Vfmsubadd231pd:
                (op.B, op.C, op.D) = (second, third, first);
                return false;
            default:
                (op.B, op.C, op.D) = (first, third, second);
                return false;
        }
    }

    private static nint Packed<TOp, T>(in Instruction i, ref Op op) where TOp : struct, IFused where T : unmanaged
    {
        var addend = Order(i, ref op);
        return Shape(i) switch
        {
            2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PackedRegister<TOp, T, Vex128>,
            3 => addend ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&PackedMemoryAddend<TOp, T, Vex128> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&PackedMemoryFactor<TOp, T, Vex128>,
            4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PackedRegister<TOp, T, Vex256>,
            _ => addend ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&PackedMemoryAddend<TOp, T, Vex256> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&PackedMemoryFactor<TOp, T, Vex256>,
        };
    }

    private static nint Scalar<TOp, T>(in Instruction i, ref Op op) where TOp : struct, IFused where T : unmanaged
    {
        var addend = Order(i, ref op);
        if (!HasMemory(i)) return (nint)(delegate*<Vcpu, ref Op, ref Op>)&ScalarRegister<TOp, T>;
        return addend ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&ScalarMemoryAddend<TOp, T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&ScalarMemoryFactor<TOp, T>;
    }
}
