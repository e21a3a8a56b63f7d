using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.FloatingPoint;
using static Vmm.Backends.Software.Interpret.MmxLanes;
using static Vmm.Backends.Software.Interpret.VectorIntegerLanes;
using static Vmm.Backends.Software.Interpret.VectorShuffleLanes;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class MmxOps
{
    /// <summary>Binds instructions that name an MMX register, and EMMS.</summary>
    public static bool TryBind(in Instruction instruction, uint mode, ref Op op)
    {
        if (instruction.Mnemonic == Mnemonic.Emms)
        {
            op.Handler = (nint)(delegate*<Vcpu, ref Op, ref Op>)&Empty;
            return true;
        }

        var concerned = instruction.Code is Code.Cvtpi2ps_xmm_mmm64 or Code.Cvtpi2pd_xmm_mmm64;
        for (var n = 0; n < instruction.OpCount; n++)
        {
            concerned |= instruction.GetOpKind(n) == OpKind.Register && instruction.GetOpRegister(n).IsMM();
        }

        op.Handler = concerned ? Choose(instruction, mode, ref op) : 0;
        return op.Handler != 0;
    }

    // SAFETY: function pointers to static methods; nothing is dereferenced in this file.
    private static nint Choose(in Instruction i, uint mode, ref Op op)
    {
        var memory = i.Op0Kind == OpKind.Memory || i.Op1Kind == OpKind.Memory;
        switch (i.Mnemonic)
        {
            case Mnemonic.Movd or Mnemonic.Movq or Mnemonic.Movntq: return ChooseMove(i, memory, ref op);
            case Mnemonic.Movq2dq: return NeedsSse(mode, (nint)(delegate*<Vcpu, ref Op, ref Op>)&MoveToXmm);
            case Mnemonic.Movdq2q: return NeedsSse(mode, (nint)(delegate*<Vcpu, ref Op, ref Op>)&MoveFromXmm);
            case Mnemonic.Pinsrw: return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&InsertMemory : (nint)(delegate*<Vcpu, ref Op, ref Op>)&InsertRegister;
            case Mnemonic.Pextrw: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&Extract;
            case Mnemonic.Pmovmskb: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&MoveMask;
            case Mnemonic.Maskmovq:
                VectorMoveOps.BindDestinationIndex(i, mode, ref op);
                return (nint)(delegate*<Vcpu, ref Op, ref Op>)&MaskedStore;
            case Mnemonic.Cvtpi2ps: return Conversion(mode, memory, (nint)(delegate*<Vcpu, ref Op, ref Op>)&ToFloat<Binary32>, ref op);
            case Mnemonic.Cvtpi2pd: return Conversion(mode, memory, (nint)(delegate*<Vcpu, ref Op, ref Op>)&ToFloat<Binary64>, ref op);
            case Mnemonic.Cvtps2pi: return Conversion(mode, memory, (nint)(delegate*<Vcpu, ref Op, ref Op>)&FromFloat<Binary32>, ref op);
            case Mnemonic.Cvtpd2pi: return Conversion(mode, memory, (nint)(delegate*<Vcpu, ref Op, ref Op>)&FromFloat<Binary64>, ref op);
            case Mnemonic.Cvttps2pi: op.Extra = 1; return Conversion(mode, memory, (nint)(delegate*<Vcpu, ref Op, ref Op>)&FromFloat<Binary32>, ref op);
            case Mnemonic.Cvttpd2pi: op.Extra = 1; return Conversion(mode, memory, (nint)(delegate*<Vcpu, ref Op, ref Op>)&FromFloat<Binary64>, ref op);
            case Mnemonic.Punpcklbw: return Unpack<UnpackLowBytes>(memory);
            case Mnemonic.Punpcklwd: return Unpack<UnpackLowWords>(memory);
            case Mnemonic.Punpckldq: return Unpack<UnpackLowDwords>(memory);
            case Mnemonic.Psllw: return Shift<ShiftLeft<ushort>>(i, memory);
            case Mnemonic.Pslld: return Shift<ShiftLeft<uint>>(i, memory);
            case Mnemonic.Psllq: return Shift<ShiftLeft<ulong>>(i, memory);
            case Mnemonic.Psrlw: return Shift<ShiftRight<ushort>>(i, memory);
            case Mnemonic.Psrld: return Shift<ShiftRight<uint>>(i, memory);
            case Mnemonic.Psrlq: return Shift<ShiftRight<ulong>>(i, memory);
            case Mnemonic.Psraw: return Shift<ShiftArithmetic<short>>(i, memory);
            case Mnemonic.Psrad: return Shift<ShiftArithmetic<int>>(i, memory);
            default: return ChooseLanes(i.Mnemonic, memory);
        }
    }

    private static nint ChooseLanes(Mnemonic mnemonic, bool memory) => mnemonic switch
    {
        Mnemonic.Paddb => Lanes<Add<byte>>(memory),
        Mnemonic.Paddw => Lanes<Add<ushort>>(memory),
        Mnemonic.Paddd => Lanes<Add<uint>>(memory),
        Mnemonic.Paddq => Lanes<Add<ulong>>(memory),
        Mnemonic.Psubb => Lanes<Sub<byte>>(memory),
        Mnemonic.Psubw => Lanes<Sub<ushort>>(memory),
        Mnemonic.Psubd => Lanes<Sub<uint>>(memory),
        Mnemonic.Psubq => Lanes<Sub<ulong>>(memory),
        Mnemonic.Paddsb => Lanes<AddSat<sbyte>>(memory),
        Mnemonic.Paddsw => Lanes<AddSat<short>>(memory),
        Mnemonic.Paddusb => Lanes<AddSat<byte>>(memory),
        Mnemonic.Paddusw => Lanes<AddSat<ushort>>(memory),
        Mnemonic.Psubsb => Lanes<SubSat<sbyte>>(memory),
        Mnemonic.Psubsw => Lanes<SubSat<short>>(memory),
        Mnemonic.Psubusb => Lanes<SubSat<byte>>(memory),
        Mnemonic.Psubusw => Lanes<SubSat<ushort>>(memory),
        Mnemonic.Pmullw => Lanes<MulLow<ushort>>(memory),
        Mnemonic.Pmulhw => Lanes<MulHighSigned>(memory),
        Mnemonic.Pmulhuw => Lanes<MulHighUnsigned>(memory),
        Mnemonic.Pmulhrsw => Lanes<MulHighRounded>(memory),
        Mnemonic.Pmuludq => Lanes<MulEvenUnsigned>(memory),
        Mnemonic.Pmaddwd => Lanes<MulAddWords>(memory),
        Mnemonic.Pmaddubsw => Lanes<MulAddBytes>(memory),
        Mnemonic.Pcmpeqb => Lanes<CompareEqual<byte>>(memory),
        Mnemonic.Pcmpeqw => Lanes<CompareEqual<ushort>>(memory),
        Mnemonic.Pcmpeqd => Lanes<CompareEqual<uint>>(memory),
        Mnemonic.Pcmpgtb => Lanes<CompareGreater<sbyte>>(memory),
        Mnemonic.Pcmpgtw => Lanes<CompareGreater<short>>(memory),
        Mnemonic.Pcmpgtd => Lanes<CompareGreater<int>>(memory),
        Mnemonic.Pminub => Lanes<Smaller<byte>>(memory),
        Mnemonic.Pminsw => Lanes<Smaller<short>>(memory),
        Mnemonic.Pmaxub => Lanes<Greater<byte>>(memory),
        Mnemonic.Pmaxsw => Lanes<Greater<short>>(memory),
        Mnemonic.Pavgb => Lanes<Average<byte>>(memory),
        Mnemonic.Pavgw => Lanes<Average<ushort>>(memory),
        Mnemonic.Psadbw => Lanes<SumOfDifferences>(memory),
        Mnemonic.Pand => Lanes<And>(memory),
        Mnemonic.Pandn => Lanes<InvertAnd>(memory),
        Mnemonic.Por => Lanes<Or>(memory),
        Mnemonic.Pxor => Lanes<Xor>(memory),
        Mnemonic.Psignb => Lanes<Sign<sbyte>>(memory),
        Mnemonic.Psignw => Lanes<Sign<short>>(memory),
        Mnemonic.Psignd => Lanes<Sign<int>>(memory),
        Mnemonic.Pabsb => Binary<OfSource<Absolute<sbyte>>>(memory),
        Mnemonic.Pabsw => Binary<OfSource<Absolute<short>>>(memory),
        Mnemonic.Pabsd => Binary<OfSource<Absolute<int>>>(memory),
        Mnemonic.Phaddw => Binary<Joined<PairWords<Add<ushort>>>>(memory),
        Mnemonic.Phaddd => Binary<Joined<PairDwords<Add<uint>>>>(memory),
        Mnemonic.Phaddsw => Binary<Joined<PairWords<AddSat<short>>>>(memory),
        Mnemonic.Phsubw => Binary<Joined<PairWords<Sub<ushort>>>>(memory),
        Mnemonic.Phsubd => Binary<Joined<PairDwords<Sub<uint>>>>(memory),
        Mnemonic.Phsubsw => Binary<Joined<PairWords<SubSat<short>>>>(memory),
        Mnemonic.Packsswb => Binary<Joined<PackSignedBytes>>(memory),
        Mnemonic.Packuswb => Binary<Joined<PackUnsignedBytes>>(memory),
        Mnemonic.Packssdw => Binary<Joined<PackSignedWords>>(memory),
        Mnemonic.Punpckhbw => Binary<UpperHalf<UnpackLowBytes>>(memory),
        Mnemonic.Punpckhwd => Binary<UpperHalf<UnpackLowWords>>(memory),
        Mnemonic.Punpckhdq => Binary<UpperHalf<UnpackLowDwords>>(memory),
        Mnemonic.Pshufw => Binary<OfSource<ShuffleLowWords>>(memory),
        Mnemonic.Pshufb => Binary<MmxLanes.ShuffleBytes>(memory),
        Mnemonic.Palignr => Binary<MmxLanes.AlignRight>(memory),
        _ => 0,
    };

    private static nint ChooseMove(in Instruction i, bool memory, ref Op op)
    {
        switch (i.Code)
        {
            case Code.Movd_mm_rm32 or Code.Movq_mm_rm64:
                op.Size = i.Code == Code.Movd_mm_rm32 ? (byte)4 : (byte)8;
                return !memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&FromGeneral
                    : op.Size == 4 ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&Load<uint> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&Load<ulong>;
            case Code.Movd_rm32_mm or Code.Movq_rm64_mm:
                op.Size = i.Code == Code.Movd_rm32_mm ? (byte)4 : (byte)8;
                return !memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&ToGeneral
                    : op.Size == 4 ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreDword : (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreQword;
            case Code.Movq_mm_mmm64: return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&Load<ulong> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&Move;
            case Code.Movq_mmm64_mm: return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreQword : (nint)(delegate*<Vcpu, ref Op, ref Op>)&Move;
            default: return (nint)(delegate*<Vcpu, ref Op, ref Op>)&StoreQword;
        }
    }

    private static nint Lanes<TOp>(bool memory) where TOp : struct, IBinary => Binary<Lanewise<TOp>>(memory);

    private static nint Binary<TOp>(bool memory) where TOp : struct, IMmx =>
        memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&BinaryMemory<TOp> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&BinaryRegister<TOp>;

    private static nint Unpack<TOp>(bool memory) where TOp : struct, IBinary => memory
        ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&BinaryMemoryNarrow<Lanewise<TOp>> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&BinaryRegister<Lanewise<TOp>>;

    private static nint Shift<TOp>(in Instruction i, bool memory) where TOp : struct, IShift =>
        i.Op1Kind == OpKind.Immediate8 ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&ShiftImmediate<Shifted<TOp>> : Binary<Shifted<TOp>>(memory);

    private static nint Conversion(uint mode, bool memory, nint handler, ref Op op)
    {
        op.Size = memory ? (byte)8 : (byte)0;
        return NeedsSse(mode, handler);
    }

    private static nint NeedsSse(uint mode, nint handler) => (mode & CpuMode.Sse) != 0 ? handler : (nint)(delegate*<Vcpu, ref Op, ref Op>)&SseOff;
}
