// Intel SDM vol. 2: shuffles, blends, packs, permutations, insertions and extractions.
using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using static Vmm.Backends.Software.Interpret.VectorHandlers;
using static Vmm.Backends.Software.Interpret.VectorShuffleLanes;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class VectorShuffleOps
{
    // SAFETY: function pointers to static methods; nothing is dereferenced in this file.

    /// <summary>The handler, or 0.</summary>
    public static nint Choose(in Instruction i, ref Op op) => i.Mnemonic switch
    {
        Mnemonic.Packsswb or Mnemonic.Vpacksswb => Binary<PackSignedBytes>(i, ref op),
        Mnemonic.Packuswb or Mnemonic.Vpackuswb => Binary<PackUnsignedBytes>(i, ref op),
        Mnemonic.Packssdw or Mnemonic.Vpackssdw => Binary<PackSignedWords>(i, ref op),
        Mnemonic.Packusdw or Mnemonic.Vpackusdw => Binary<PackUnsignedWords>(i, ref op),
        Mnemonic.Punpcklbw or Mnemonic.Vpunpcklbw => Binary<UnpackLowBytes>(i, ref op),
        Mnemonic.Punpcklwd or Mnemonic.Vpunpcklwd => Binary<UnpackLowWords>(i, ref op),
        Mnemonic.Punpckldq or Mnemonic.Vpunpckldq or Mnemonic.Unpcklps or Mnemonic.Vunpcklps => Binary<UnpackLowDwords>(i, ref op),
        Mnemonic.Punpcklqdq or Mnemonic.Vpunpcklqdq or Mnemonic.Unpcklpd or Mnemonic.Vunpcklpd or Mnemonic.Movlhps or Mnemonic.Vmovlhps => Binary<UnpackLowQwords>(i, ref op),
        Mnemonic.Punpckhbw or Mnemonic.Vpunpckhbw => Binary<UnpackHighBytes>(i, ref op),
        Mnemonic.Punpckhwd or Mnemonic.Vpunpckhwd => Binary<UnpackHighWords>(i, ref op),
        Mnemonic.Punpckhdq or Mnemonic.Vpunpckhdq or Mnemonic.Unpckhps or Mnemonic.Vunpckhps => Binary<UnpackHighDwords>(i, ref op),
        Mnemonic.Punpckhqdq or Mnemonic.Vpunpckhqdq or Mnemonic.Unpckhpd or Mnemonic.Vunpckhpd => Binary<UnpackHighQwords>(i, ref op),
        Mnemonic.Movhlps or Mnemonic.Vmovhlps => Binary<HighToLow>(i, ref op),
        Mnemonic.Pshufb or Mnemonic.Vpshufb => Binary<ShuffleBytes>(i, ref op),
        Mnemonic.Pshufd or Mnemonic.Vpshufd => Unary<ShuffleDwords>(i),
        Mnemonic.Pshuflw or Mnemonic.Vpshuflw => Unary<ShuffleLowWords>(i),
        Mnemonic.Pshufhw or Mnemonic.Vpshufhw => Unary<ShuffleHighWords>(i),
        Mnemonic.Shufps or Mnemonic.Vshufps => Binary<ShuffleSingles>(i, ref op),
        Mnemonic.Shufpd or Mnemonic.Vshufpd => Binary<ShuffleDoubles>(i, ref op),
        Mnemonic.Vpermilps when i.Op2Kind != OpKind.Immediate8 => Binary<PermuteSingles>(i, ref op),
        Mnemonic.Vpermilps => Unary<ShuffleDwords>(i),
        Mnemonic.Vpermilpd when i.Op2Kind != OpKind.Immediate8 => Binary<PermuteDoubles>(i, ref op),
        Mnemonic.Vpermilpd => Unary<PermuteDoublesImmediate>(i),
        Mnemonic.Palignr or Mnemonic.Vpalignr => Binary<AlignRight>(i, ref op),
        Mnemonic.Pslldq or Mnemonic.Vpslldq => Shift<ShiftBytesLeft>(i, ref op),
        Mnemonic.Psrldq or Mnemonic.Vpsrldq => Shift<ShiftBytesRight>(i, ref op),
        Mnemonic.Pblendw or Mnemonic.Vpblendw => Binary<BlendWords>(i, ref op),
        Mnemonic.Blendps or Mnemonic.Vblendps or Mnemonic.Vpblendd => Binary<BlendDwords>(i, ref op),
        Mnemonic.Blendpd or Mnemonic.Vblendpd => Binary<BlendQwords>(i, ref op),
        Mnemonic.Pblendvb or Mnemonic.Vpblendvb => Ternary<BlendBySign<sbyte>>(i, ref op),
        Mnemonic.Blendvps or Mnemonic.Vblendvps => Ternary<BlendBySign<int>>(i, ref op),
        Mnemonic.Blendvpd or Mnemonic.Vblendvpd => Ternary<BlendBySign<long>>(i, ref op),
        Mnemonic.Movsldup or Mnemonic.Vmovsldup => Unary<DuplicateEven>(i),
        Mnemonic.Movshdup or Mnemonic.Vmovshdup => Unary<DuplicateOdd>(i),
        Mnemonic.Movddup or Mnemonic.Vmovddup => IsWide(i) ? Unary<DuplicateLow>(i) : Extend<DuplicateQword>(i),
        Mnemonic.Pmovsxbw or Mnemonic.Vpmovsxbw => Extend<SignExtendByteToWord>(i),
        Mnemonic.Pmovsxbd or Mnemonic.Vpmovsxbd => Extend<SignExtendByteToDword>(i),
        Mnemonic.Pmovsxbq or Mnemonic.Vpmovsxbq => Extend<SignExtendByteToQword>(i),
        Mnemonic.Pmovsxwd or Mnemonic.Vpmovsxwd => Extend<SignExtendWordToDword>(i),
        Mnemonic.Pmovsxwq or Mnemonic.Vpmovsxwq => Extend<SignExtendWordToQword>(i),
        Mnemonic.Pmovsxdq or Mnemonic.Vpmovsxdq => Extend<SignExtendDwordToQword>(i),
        Mnemonic.Pmovzxbw or Mnemonic.Vpmovzxbw => Extend<ZeroExtendByteToWord>(i),
        Mnemonic.Pmovzxbd or Mnemonic.Vpmovzxbd => Extend<ZeroExtendByteToDword>(i),
        Mnemonic.Pmovzxbq or Mnemonic.Vpmovzxbq => Extend<ZeroExtendByteToQword>(i),
        Mnemonic.Pmovzxwd or Mnemonic.Vpmovzxwd => Extend<ZeroExtendWordToDword>(i),
        Mnemonic.Pmovzxwq or Mnemonic.Vpmovzxwq => Extend<ZeroExtendWordToQword>(i),
        Mnemonic.Pmovzxdq or Mnemonic.Vpmovzxdq => Extend<ZeroExtendDwordToQword>(i),
        _ => ChooseCrossing(i, ref op),
    };

    private static nint ChooseCrossing(in Instruction i, ref Op op)
    {
        var memory = HasMemory(i);
        switch (i.Mnemonic)
        {
            case Mnemonic.Vpermd or Mnemonic.Vpermps:
                return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&PermuteDwordsMemory : (nint)(delegate*<Vcpu, ref Op, ref Op>)&PermuteDwordsRegister;
            case Mnemonic.Vpermq or Mnemonic.Vpermpd:
                return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&PermuteQwordsMemory : (nint)(delegate*<Vcpu, ref Op, ref Op>)&PermuteQwordsRegister;
            case Mnemonic.Vperm2f128 or Mnemonic.Vperm2i128:
                return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&PermuteHalvesMemory : (nint)(delegate*<Vcpu, ref Op, ref Op>)&PermuteHalvesRegister;
            case Mnemonic.Vinsertf128 or Mnemonic.Vinserti128:
                return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&InsertHalfMemory : (nint)(delegate*<Vcpu, ref Op, ref Op>)&InsertHalfRegister;
            case Mnemonic.Vextractf128 or Mnemonic.Vextracti128:
                return memory ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&ExtractHalfMemory : (nint)(delegate*<Vcpu, ref Op, ref Op>)&ExtractHalfRegister;
            case Mnemonic.Vbroadcastf128 or Mnemonic.Vbroadcasti128:
                return (nint)(delegate*<Vcpu, ref Op, ref Op>)&BroadcastHalf;
            case Mnemonic.Vpbroadcastb: return Broadcast<byte>(i);
            case Mnemonic.Vpbroadcastw: return Broadcast<ushort>(i);
            case Mnemonic.Vpbroadcastd or Mnemonic.Vbroadcastss: return Broadcast<uint>(i);
            case Mnemonic.Vpbroadcastq or Mnemonic.Vbroadcastsd: return Broadcast<ulong>(i);
            case Mnemonic.Insertps or Mnemonic.Vinsertps:
                Normalise(i, ref op);
                if (memory) return IsVex(i) ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&InsertSingleMemory<Vex128> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&InsertSingleMemory<Legacy>;
                return IsVex(i) ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&InsertSingleRegister<Vex128> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&InsertSingleRegister<Legacy>;
            case Mnemonic.Pinsrb or Mnemonic.Vpinsrb: return Insert<byte>(i, ref op);
            case Mnemonic.Pinsrw or Mnemonic.Vpinsrw: return Insert<ushort>(i, ref op);
            case Mnemonic.Pinsrd or Mnemonic.Vpinsrd: return Insert<uint>(i, ref op);
            case Mnemonic.Pinsrq or Mnemonic.Vpinsrq: return Insert<ulong>(i, ref op);
            case Mnemonic.Pextrb or Mnemonic.Vpextrb: return Extract<byte>(i);
            case Mnemonic.Pextrw or Mnemonic.Vpextrw: return Extract<ushort>(i);
            case Mnemonic.Pextrd or Mnemonic.Vpextrd or Mnemonic.Extractps or Mnemonic.Vextractps: return Extract<uint>(i);
            case Mnemonic.Pextrq or Mnemonic.Vpextrq: return Extract<ulong>(i);
            case Mnemonic.Ptest or Mnemonic.Vptest: return Test<byte>(i);
            case Mnemonic.Vtestps: return Test<uint>(i);
            case Mnemonic.Vtestpd: return Test<ulong>(i);
            case Mnemonic.Pmovmskb or Mnemonic.Vpmovmskb: return MoveMask<byte>(i);
            case Mnemonic.Movmskps or Mnemonic.Vmovmskps: return MoveMask<uint>(i);
            case Mnemonic.Movmskpd or Mnemonic.Vmovmskpd: return MoveMask<ulong>(i);
            default: return 0;
        }
    }

    private static nint Broadcast<T>(in Instruction i) where T : unmanaged => Shape(i) switch
    {
        2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&BroadcastRegister<T, Vex128>,
        3 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&BroadcastMemory<T, Vex128>,
        4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&BroadcastRegister<T, Vex256>,
        _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&BroadcastMemory<T, Vex256>,
    };

    private static nint Insert<T>(in Instruction i, ref Op op) where T : unmanaged
    {
        Normalise(i, ref op);
        return Shape(i) switch
        {
            0 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&InsertRegister<T, Legacy>,
            1 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&InsertMemory<T, Legacy>,
            2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&InsertRegister<T, Vex128>,
            _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&InsertMemory<T, Vex128>,
        };
    }

    private static nint Extract<T>(in Instruction i) where T : unmanaged =>
        HasMemory(i) ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&ExtractMemory<T> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&ExtractRegister<T>;

    private static nint Test<T>(in Instruction i) where T : unmanaged => Shape(i) switch
    {
        0 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TestRegister<T, Legacy>,
        1 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TestMemory<T, Legacy>,
        2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TestRegister<T, Vex128>,
        3 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TestMemory<T, Vex128>,
        4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TestRegister<T, Vex256>,
        _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TestMemory<T, Vex256>,
    };

    private static nint MoveMask<T>(in Instruction i) where T : unmanaged =>
        IsWide(i) ? (nint)(delegate*<Vcpu, ref Op, ref Op>)&MoveMaskRegister<T, Vex256> : (nint)(delegate*<Vcpu, ref Op, ref Op>)&MoveMaskRegister<T, Vex128>;
}
