using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using static Vmm.Backends.Software.Interpret.VectorHandlers;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class VectorConvertOps
{
    // SAFETY: function pointers to static methods; nothing is dereferenced in this file.

    /// <summary>The handler, or 0.</summary>
    public static nint Choose(in Instruction i, ref Op op)
    {
        switch (i.Mnemonic)
        {
            case Mnemonic.Cvtps2pd or Mnemonic.Vcvtps2pd: return Widen<SinglesToDoubles>(i);
            case Mnemonic.Cvtdq2pd or Mnemonic.Vcvtdq2pd: return Widen<DwordsToDoubles>(i);
            case Mnemonic.Vcvtph2ps: return Widen<HalvesToSingles>(i);
            case Mnemonic.Cvtpd2ps or Mnemonic.Vcvtpd2ps: return Narrow<DoublesToSingles>(i);
            case Mnemonic.Cvtpd2dq or Mnemonic.Vcvtpd2dq: return Narrow<DoublesToDwords>(i);
            case Mnemonic.Cvttpd2dq or Mnemonic.Vcvttpd2dq: return Narrow<DoublesToDwordsTruncated>(i);
            case Mnemonic.Vcvtps2ph:
                if (i.Op0Kind != OpKind.Memory) return Narrow<SinglesToHalves>(i);
                return IsWide(i) ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&NarrowToMemory<SinglesToHalves, Vex256> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&NarrowToMemory<SinglesToHalves, Vex128>;
            case Mnemonic.Cvtss2sd or Mnemonic.Vcvtss2sd: return Scalar<float, double>(i, ref op);
            case Mnemonic.Cvtsd2ss or Mnemonic.Vcvtsd2ss: return Scalar<double, float>(i, ref op);
            case Mnemonic.Cvtsi2ss or Mnemonic.Vcvtsi2ss: return Is64(i) ? FromInteger<long, float>(i, ref op) : FromInteger<int, float>(i, ref op);
            case Mnemonic.Cvtsi2sd or Mnemonic.Vcvtsi2sd: return Is64(i) ? FromInteger<long, double>(i, ref op) : FromInteger<int, double>(i, ref op);
            case Mnemonic.Cvtss2si or Mnemonic.Vcvtss2si: return i.Op0Register.GetSize() == 8 ? ToInteger<float, ulong, Legacy>(i) : ToInteger<float, uint, Legacy>(i);
            case Mnemonic.Cvtsd2si or Mnemonic.Vcvtsd2si: return i.Op0Register.GetSize() == 8 ? ToInteger<double, ulong, Legacy>(i) : ToInteger<double, uint, Legacy>(i);
            case Mnemonic.Cvttss2si or Mnemonic.Vcvttss2si: return i.Op0Register.GetSize() == 8 ? ToInteger<float, ulong, Vex256>(i) : ToInteger<float, uint, Vex256>(i);
            case Mnemonic.Cvttsd2si or Mnemonic.Vcvttsd2si: return i.Op0Register.GetSize() == 8 ? ToInteger<double, ulong, Vex256>(i) : ToInteger<double, uint, Vex256>(i);
            default: return 0;
        }
    }

    // The integer operand is the last one.
    private static bool Is64(in Instruction i)
    {
        var last = i.OpCount - 1;
        return i.GetOpKind(last) == OpKind.Memory ? i.MemorySize.GetSize() == 8 : i.GetOpRegister(last).GetSize() == 8;
    }

    private static nint Widen<TOp>(in Instruction i) where TOp : struct, IFloatWiden => Shape(i) switch
    {
        0 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&WidenRegister<TOp, Legacy>,
        1 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&WidenMemory<TOp, Legacy>,
        2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&WidenRegister<TOp, Vex128>,
        3 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&WidenMemory<TOp, Vex128>,
        4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&WidenRegister<TOp, Vex256>,
        _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&WidenMemory<TOp, Vex256>,
    };

    private static nint Narrow<TOp>(in Instruction i) where TOp : struct, IFloatNarrow => Shape(i) switch
    {
        0 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&NarrowRegister<TOp, Legacy>,
        1 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&NarrowMemory<TOp, Legacy>,
        2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&NarrowRegister<TOp, Vex128>,
        3 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&NarrowMemory<TOp, Vex128>,
        4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&NarrowRegister<TOp, Vex256>,
        _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&NarrowMemory<TOp, Vex256>,
    };

    private static nint Scalar<TFrom, TTo>(in Instruction i, ref Op op) where TFrom : unmanaged where TTo : unmanaged
    {
        Normalise(i, ref op);
        return Shape(i) switch
        {
            0 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ScalarRegister<TFrom, TTo, Legacy>,
            1 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ScalarMemory<TFrom, TTo, Legacy>,
            2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ScalarRegister<TFrom, TTo, Vex128>,
            _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ScalarMemory<TFrom, TTo, Vex128>,
        };
    }

    private static nint FromInteger<TInteger, TFloat>(in Instruction i, ref Op op) where TInteger : unmanaged where TFloat : unmanaged
    {
        Normalise(i, ref op);
        return Shape(i) switch
        {
            0 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&FromIntegerRegister<TInteger, TFloat, Legacy>,
            1 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&FromIntegerMemory<TInteger, TFloat, Legacy>,
            2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&FromIntegerRegister<TInteger, TFloat, Vex128>,
            _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&FromIntegerMemory<TInteger, TFloat, Vex128>,
        };
    }

    private static nint ToInteger<TFloat, TInteger, TTruncates>(in Instruction i) where TFloat : unmanaged where TInteger : unmanaged where TTruncates : struct, IForm =>
        HasMemory(i) ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&ToIntegerMemory<TFloat, TInteger, TTruncates> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&ToIntegerRegister<TFloat, TInteger, TTruncates>;
}
