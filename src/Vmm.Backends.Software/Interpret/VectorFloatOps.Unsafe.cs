using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using static Vmm.Backends.Software.Interpret.FloatGroups;
using static Vmm.Backends.Software.Interpret.FloatLanes;
using static Vmm.Backends.Software.Interpret.VectorHandlers;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class VectorFloatOps
{
    // SAFETY: function pointers to static methods; nothing is dereferenced in this file.

    /// <summary>The handler, or 0.</summary>
    public static nint Choose(in Instruction i, ref Op op) => i.Mnemonic switch
    {
        Mnemonic.Addps or Mnemonic.Vaddps => Packed<AddFloat, float>(i, ref op),
        Mnemonic.Addpd or Mnemonic.Vaddpd => Packed<AddFloat, double>(i, ref op),
        Mnemonic.Addss or Mnemonic.Vaddss => Scalar<AddFloat, float>(i, ref op),
        Mnemonic.Addsd or Mnemonic.Vaddsd => Scalar<AddFloat, double>(i, ref op),
        Mnemonic.Subps or Mnemonic.Vsubps => Packed<SubFloat, float>(i, ref op),
        Mnemonic.Subpd or Mnemonic.Vsubpd => Packed<SubFloat, double>(i, ref op),
        Mnemonic.Subss or Mnemonic.Vsubss => Scalar<SubFloat, float>(i, ref op),
        Mnemonic.Subsd or Mnemonic.Vsubsd => Scalar<SubFloat, double>(i, ref op),
        Mnemonic.Mulps or Mnemonic.Vmulps => Packed<MulFloat, float>(i, ref op),
        Mnemonic.Mulpd or Mnemonic.Vmulpd => Packed<MulFloat, double>(i, ref op),
        Mnemonic.Mulss or Mnemonic.Vmulss => Scalar<MulFloat, float>(i, ref op),
        Mnemonic.Mulsd or Mnemonic.Vmulsd => Scalar<MulFloat, double>(i, ref op),
        Mnemonic.Divps or Mnemonic.Vdivps => Packed<DivFloat, float>(i, ref op),
        Mnemonic.Divpd or Mnemonic.Vdivpd => Packed<DivFloat, double>(i, ref op),
        Mnemonic.Divss or Mnemonic.Vdivss => Scalar<DivFloat, float>(i, ref op),
        Mnemonic.Divsd or Mnemonic.Vdivsd => Scalar<DivFloat, double>(i, ref op),
        Mnemonic.Minps or Mnemonic.Vminps => Packed<MinFloat, float>(i, ref op),
        Mnemonic.Minpd or Mnemonic.Vminpd => Packed<MinFloat, double>(i, ref op),
        Mnemonic.Minss or Mnemonic.Vminss => Scalar<MinFloat, float>(i, ref op),
        Mnemonic.Minsd or Mnemonic.Vminsd => Scalar<MinFloat, double>(i, ref op),
        Mnemonic.Maxps or Mnemonic.Vmaxps => Packed<MaxFloat, float>(i, ref op),
        Mnemonic.Maxpd or Mnemonic.Vmaxpd => Packed<MaxFloat, double>(i, ref op),
        Mnemonic.Maxss or Mnemonic.Vmaxss => Scalar<MaxFloat, float>(i, ref op),
        Mnemonic.Maxsd or Mnemonic.Vmaxsd => Scalar<MaxFloat, double>(i, ref op),
        Mnemonic.Cmpps or Mnemonic.Vcmpps => Packed<CompareFloat, float>(i, ref Predicate(i, ref op)),
        Mnemonic.Cmppd or Mnemonic.Vcmppd => Packed<CompareFloat, double>(i, ref Predicate(i, ref op)),
        Mnemonic.Cmpss or Mnemonic.Vcmpss => Scalar<CompareFloat, float>(i, ref Predicate(i, ref op)),
        Mnemonic.Cmpsd or Mnemonic.Vcmpsd => Scalar<CompareFloat, double>(i, ref Predicate(i, ref op)),
        Mnemonic.Sqrtps or Mnemonic.Vsqrtps => Packed1<SquareRootFloat, float>(i),
        Mnemonic.Sqrtpd or Mnemonic.Vsqrtpd => Packed1<SquareRootFloat, double>(i),
        Mnemonic.Sqrtss or Mnemonic.Vsqrtss => Scalar<OfSecond<SquareRootFloat>, float>(i, ref op),
        Mnemonic.Sqrtsd or Mnemonic.Vsqrtsd => Scalar<OfSecond<SquareRootFloat>, double>(i, ref op),
        Mnemonic.Roundps or Mnemonic.Vroundps => Packed1<RoundFloat, float>(i),
        Mnemonic.Roundpd or Mnemonic.Vroundpd => Packed1<RoundFloat, double>(i),
        Mnemonic.Roundss or Mnemonic.Vroundss => Scalar<OfSecond<RoundFloat>, float>(i, ref op),
        Mnemonic.Roundsd or Mnemonic.Vroundsd => Scalar<OfSecond<RoundFloat>, double>(i, ref op),
        Mnemonic.Rcpps or Mnemonic.Vrcpps => Packed1<ReciprocalFloat, float>(i),
        Mnemonic.Rcpss or Mnemonic.Vrcpss => Scalar<OfSecond<ReciprocalFloat>, float>(i, ref op),
        Mnemonic.Rsqrtps or Mnemonic.Vrsqrtps => Packed1<ReciprocalRootFloat, float>(i),
        Mnemonic.Rsqrtss or Mnemonic.Vrsqrtss => Scalar<OfSecond<ReciprocalRootFloat>, float>(i, ref op),
        Mnemonic.Cvtdq2ps or Mnemonic.Vcvtdq2ps => Packed1<FromDword, float>(i),
        Mnemonic.Cvtps2dq or Mnemonic.Vcvtps2dq => Packed1<ToDword, float>(i),
        Mnemonic.Cvttps2dq or Mnemonic.Vcvttps2dq => Packed1<ToDwordTruncated, float>(i),
        Mnemonic.Ucomiss or Mnemonic.Vucomiss => Compare<float, Legacy>(i),
        Mnemonic.Ucomisd or Mnemonic.Vucomisd => Compare<double, Legacy>(i),
        Mnemonic.Comiss or Mnemonic.Vcomiss => Compare<float, Vex256>(i),
        Mnemonic.Comisd or Mnemonic.Vcomisd => Compare<double, Vex256>(i),
        Mnemonic.Haddps or Mnemonic.Vhaddps => Group<PairSingles<AddFloat>>(i, ref op),
        Mnemonic.Haddpd or Mnemonic.Vhaddpd => Group<PairDoubles<AddFloat>>(i, ref op),
        Mnemonic.Hsubps or Mnemonic.Vhsubps => Group<PairSingles<SubFloat>>(i, ref op),
        Mnemonic.Hsubpd or Mnemonic.Vhsubpd => Group<PairDoubles<SubFloat>>(i, ref op),
        Mnemonic.Addsubps or Mnemonic.Vaddsubps => Group<Alternating<float>>(i, ref op),
        Mnemonic.Addsubpd or Mnemonic.Vaddsubpd => Group<Alternating<double>>(i, ref op),
        Mnemonic.Dpps or Mnemonic.Vdpps => DotProductOps.Choose<float>(i, ref op),
        Mnemonic.Dppd or Mnemonic.Vdppd => DotProductOps.Choose<double>(i, ref op),
        _ => 0,
    };

    // SSE has 8 predicates, AVX 32; the other bits of the immediate are ignored.
    private static ref Op Predicate(in Instruction i, ref Op op)
    {
        op.Imm &= IsVex(i) ? 31u : 7u;
        return ref op;
    }

    private static nint Packed<TOp, T>(in Instruction i, ref Op op) where TOp : struct, IFloatBinary where T : unmanaged
    {
        Normalise(i, ref op);
        return Shape(i) switch
        {
            0 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PackedRegister<TOp, T, Legacy>,
            1 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PackedMemory<TOp, T, Legacy>,
            2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PackedRegister<TOp, T, Vex128>,
            3 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PackedMemory<TOp, T, Vex128>,
            4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PackedRegister<TOp, T, Vex256>,
            _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&PackedMemory<TOp, T, Vex256>,
        };
    }

    private static nint Packed1<TOp, T>(in Instruction i) where TOp : struct, IFloatUnary where T : unmanaged => Shape(i) switch
    {
        0 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Packed1Register<TOp, T, Legacy>,
        1 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Packed1Memory<TOp, T, Legacy>,
        2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Packed1Register<TOp, T, Vex128>,
        3 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Packed1Memory<TOp, T, Vex128>,
        4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Packed1Register<TOp, T, Vex256>,
        _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Packed1Memory<TOp, T, Vex256>,
    };

    private static nint Scalar<TOp, T>(in Instruction i, ref Op op) where TOp : struct, IFloatBinary where T : unmanaged
    {
        Normalise(i, ref op);
        return Shape(i) switch
        {
            0 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ScalarRegister<TOp, T, Legacy>,
            1 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ScalarMemory<TOp, T, Legacy>,
            2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ScalarRegister<TOp, T, Vex128>,
            _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ScalarMemory<TOp, T, Vex128>,
        };
    }

    private static nint Compare<T, TSignals>(in Instruction i) where T : unmanaged where TSignals : struct, IForm =>
        HasMemory(i) ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&CompareMemory<T, TSignals> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&CompareRegister<T, TSignals>;

    private static nint Group<TOp>(in Instruction i, ref Op op) where TOp : struct, IFloatGroup
    {
        Normalise(i, ref op);
        return Shape(i) switch
        {
            0 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&GroupedRegister<TOp, Legacy>,
            1 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&GroupedMemory<TOp, Legacy>,
            2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&GroupedRegister<TOp, Vex128>,
            3 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&GroupedMemory<TOp, Vex128>,
            4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&GroupedRegister<TOp, Vex256>,
            _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&GroupedMemory<TOp, Vex256>,
        };
    }
}
