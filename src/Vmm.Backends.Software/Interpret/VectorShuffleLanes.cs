// Intel SDM vol. 2: PACKx, PUNPCKx, PSHUFx, SHUFPx, PALIGNR, BLENDx, PMOVSX, PMOVZX, VPERMILPx, MOVxDUP.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static System.Runtime.Intrinsics.Vector128;

namespace Vmm.Backends.Software.Interpret;

/// <summary>Operations that move elements about within 128 bits.</summary>
internal static class VectorShuffleLanes
{
    private static Vector128<byte> Sequence => Create((byte)0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);

    /// <summary>PACKSSWB.</summary>
    internal readonly struct PackSignedBytes : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) =>
            Narrow(Limit(a.AsInt16(), sbyte.MinValue, sbyte.MaxValue), Limit(b.AsInt16(), sbyte.MinValue, sbyte.MaxValue)).AsByte();
    }

    /// <summary>PACKUSWB.</summary>
    internal readonly struct PackUnsignedBytes : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) =>
            Narrow(Limit(a.AsInt16(), (short)0, byte.MaxValue).AsUInt16(), Limit(b.AsInt16(), (short)0, byte.MaxValue).AsUInt16());
    }

    /// <summary>PACKSSDW.</summary>
    internal readonly struct PackSignedWords : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) =>
            Narrow(Limit(a.AsInt32(), short.MinValue, short.MaxValue), Limit(b.AsInt32(), short.MinValue, short.MaxValue)).AsByte();
    }

    /// <summary>PACKUSDW.</summary>
    internal readonly struct PackUnsignedWords : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) =>
            Narrow(Limit(a.AsInt32(), 0, ushort.MaxValue).AsUInt32(), Limit(b.AsInt32(), 0, ushort.MaxValue).AsUInt32()).AsByte();
    }

    internal readonly struct UnpackLowBytes : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => (WidenLower(a) | (WidenLower(b) << 8)).AsByte();
    }

    internal readonly struct UnpackLowWords : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => (WidenLower(a.AsUInt16()) | (WidenLower(b.AsUInt16()) << 16)).AsByte();
    }

    /// <summary>PUNPCKLDQ, UNPCKLPS.</summary>
    internal readonly struct UnpackLowDwords : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => (WidenLower(a.AsUInt32()) | (WidenLower(b.AsUInt32()) << 32)).AsByte();
    }

    /// <summary>PUNPCKLQDQ, UNPCKLPD, MOVLHPS.</summary>
    internal readonly struct UnpackLowQwords : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => Create(a.GetLower(), b.GetLower());
    }

    internal readonly struct UnpackHighBytes : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => (WidenUpper(a) | (WidenUpper(b) << 8)).AsByte();
    }

    internal readonly struct UnpackHighWords : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => (WidenUpper(a.AsUInt16()) | (WidenUpper(b.AsUInt16()) << 16)).AsByte();
    }

    /// <summary>PUNPCKHDQ, UNPCKHPS.</summary>
    internal readonly struct UnpackHighDwords : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => (WidenUpper(a.AsUInt32()) | (WidenUpper(b.AsUInt32()) << 32)).AsByte();
    }

    /// <summary>PUNPCKHQDQ, UNPCKHPD.</summary>
    internal readonly struct UnpackHighQwords : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => Create(a.GetUpper(), b.GetUpper());
    }

    /// <summary>MOVHLPS.</summary>
    internal readonly struct HighToLow : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => Create(b.GetUpper(), a.GetUpper());
    }

    /// <summary>PSHUFB.</summary>
    internal readonly struct ShuffleBytes : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => Shuffle(a, b & Create((byte)0x8F));
    }

    /// <summary>PSHUFD, VPERMILPS by immediate.</summary>
    internal readonly struct ShuffleDwords : IUnary
    {
        public static Vector128<byte> Run(Vector128<byte> a, int imm) =>
            Shuffle(a.AsUInt32(), Create((uint)imm & 3, (uint)imm >> 2 & 3, (uint)imm >> 4 & 3, (uint)imm >> 6 & 3)).AsByte();
    }

    internal readonly struct ShuffleLowWords : IUnary
    {
        public static Vector128<byte> Run(Vector128<byte> a, int imm) => Create(ShuffleWords(a.AsUInt64().GetElement(0), imm), a.AsUInt64().GetElement(1)).AsByte();
    }

    internal readonly struct ShuffleHighWords : IUnary
    {
        public static Vector128<byte> Run(Vector128<byte> a, int imm) => Create(a.AsUInt64().GetElement(0), ShuffleWords(a.AsUInt64().GetElement(1), imm)).AsByte();
    }

    /// <summary>SHUFPS.</summary>
    internal readonly struct ShuffleSingles : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var x = Shuffle(a.AsUInt32(), Create((uint)imm & 3, (uint)imm >> 2 & 3, 0, 0));
            var y = Shuffle(b.AsUInt32(), Create((uint)imm >> 4 & 3, (uint)imm >> 6 & 3, 0, 0));
            return Create(x.GetLower(), y.GetLower()).AsByte();
        }
    }

    /// <summary>SHUFPD; bits 3:2 of the immediate belong to the upper half.</summary>
    internal readonly struct ShuffleDoubles : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) =>
            Create((imm & 1) != 0 ? a.GetUpper() : a.GetLower(), (imm & 2) != 0 ? b.GetUpper() : b.GetLower());

        public static int HighImmediate(int imm) => imm >> 2;
    }

    /// <summary>VPERMILPS by a vector.</summary>
    internal readonly struct PermuteSingles : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => Shuffle(a.AsUInt32(), b.AsUInt32() & Create(3u)).AsByte();
    }

    /// <summary>VPERMILPD by a vector: bit 1 of each element.</summary>
    internal readonly struct PermuteDoubles : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) =>
            Create((b.GetElement(0) & 2) != 0 ? a.GetUpper() : a.GetLower(), (b.GetElement(8) & 2) != 0 ? a.GetUpper() : a.GetLower());
    }

    /// <summary>VPERMILPD by immediate; bits 3:2 belong to the upper half.</summary>
    internal readonly struct PermuteDoublesImmediate : IUnary
    {
        public static Vector128<byte> Run(Vector128<byte> a, int imm) =>
            Create((imm & 1) != 0 ? a.GetUpper() : a.GetLower(), (imm & 2) != 0 ? a.GetUpper() : a.GetLower());

        public static int HighImmediate(int imm) => imm >> 2;
    }

    /// <summary>PALIGNR: the first source is the upper half of what is shifted.</summary>
    internal readonly struct AlignRight : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var indexes = Sequence + Create((byte)Math.Min(imm & 0xFF, 32));
            return Shuffle(b, indexes) | Shuffle(a, indexes - Create((byte)16));
        }
    }

    /// <summary>PSLLDQ.</summary>
    internal readonly struct ShiftBytesLeft : IShift
    {
        public static Vector128<byte> Run(Vector128<byte> a, ulong count) => Shuffle(a, Sequence - Create((byte)Math.Min(count, 16)));
    }

    /// <summary>PSRLDQ.</summary>
    internal readonly struct ShiftBytesRight : IShift
    {
        public static Vector128<byte> Run(Vector128<byte> a, ulong count) => Shuffle(a, Sequence + Create((byte)Math.Min(count, 16)));
    }

    /// <summary>PBLENDW.</summary>
    internal readonly struct BlendWords : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var bits = Create(1, 2, 4, 8, 16, 32, 64, 128);
            return ConditionalSelect(Vector128.Equals(Create((short)imm) & bits, bits).AsByte(), b, a);
        }
    }

    /// <summary>BLENDPS, VPBLENDD; bits 7:4 of the immediate belong to the upper half.</summary>
    internal readonly struct BlendDwords : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var bits = Create(1, 2, 4, 8);
            return ConditionalSelect(Vector128.Equals(Create(imm) & bits, bits).AsByte(), b, a);
        }

        public static int HighImmediate(int imm) => imm >> 4;
    }

    /// <summary>BLENDPD; bits 3:2 of the immediate belong to the upper half.</summary>
    internal readonly struct BlendQwords : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var bits = Create(1L, 2L);
            return ConditionalSelect(Vector128.Equals(Create((long)imm) & bits, bits).AsByte(), b, a);
        }

        public static int HighImmediate(int imm) => imm >> 2;
    }

    /// <summary>PBLENDVB, BLENDVPS, BLENDVPD: by the sign bits of a signed T.</summary>
    internal readonly struct BlendBySign<T> : ITernary where T : unmanaged
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, Vector128<byte> c) =>
            ConditionalSelect(LessThan(c.As<byte, T>(), Vector128<T>.Zero).AsByte(), b, a);
    }

    /// <summary>MOVSLDUP.</summary>
    internal readonly struct DuplicateEven : IUnary
    {
        public static Vector128<byte> Run(Vector128<byte> a, int imm) => Shuffle(a.AsUInt32(), Create(0u, 0, 2, 2)).AsByte();
    }

    /// <summary>MOVSHDUP.</summary>
    internal readonly struct DuplicateOdd : IUnary
    {
        public static Vector128<byte> Run(Vector128<byte> a, int imm) => Shuffle(a.AsUInt32(), Create(1u, 1, 3, 3)).AsByte();
    }

    /// <summary>VMOVDDUP of 256 bits.</summary>
    internal readonly struct DuplicateLow : IUnary
    {
        public static Vector128<byte> Run(Vector128<byte> a, int imm) => Create(a.GetLower(), a.GetLower());
    }

    /// <summary>MOVDDUP of 128 bits: eight bytes of memory.</summary>
    internal readonly struct DuplicateQword : IExtend
    {
        public static int Bytes => 8;

        public static Vector128<byte> Run(ulong source) => Create(source).AsByte();
    }

    internal readonly struct SignExtendByteToWord : IExtend
    {
        public static int Bytes => 8;

        public static Vector128<byte> Run(ulong source) => WidenLower(CreateScalar(source).AsSByte()).AsByte();
    }

    internal readonly struct SignExtendByteToDword : IExtend
    {
        public static int Bytes => 4;

        public static Vector128<byte> Run(ulong source) => WidenLower(WidenLower(CreateScalar(source).AsSByte())).AsByte();
    }

    internal readonly struct SignExtendByteToQword : IExtend
    {
        public static int Bytes => 2;

        public static Vector128<byte> Run(ulong source) => Create((sbyte)source, (long)(sbyte)(source >> 8)).AsByte();
    }

    internal readonly struct SignExtendWordToDword : IExtend
    {
        public static int Bytes => 8;

        public static Vector128<byte> Run(ulong source) => WidenLower(CreateScalar(source).AsInt16()).AsByte();
    }

    internal readonly struct SignExtendWordToQword : IExtend
    {
        public static int Bytes => 4;

        public static Vector128<byte> Run(ulong source) => Create((short)source, (long)(short)(source >> 16)).AsByte();
    }

    internal readonly struct SignExtendDwordToQword : IExtend
    {
        public static int Bytes => 8;

        public static Vector128<byte> Run(ulong source) => Create((int)source, (long)(int)(source >> 32)).AsByte();
    }

    internal readonly struct ZeroExtendByteToWord : IExtend
    {
        public static int Bytes => 8;

        public static Vector128<byte> Run(ulong source) => WidenLower(CreateScalar(source).AsByte()).AsByte();
    }

    internal readonly struct ZeroExtendByteToDword : IExtend
    {
        public static int Bytes => 4;

        public static Vector128<byte> Run(ulong source) => WidenLower(WidenLower(CreateScalar(source).AsByte())).AsByte();
    }

    internal readonly struct ZeroExtendByteToQword : IExtend
    {
        public static int Bytes => 2;

        public static Vector128<byte> Run(ulong source) => Create((byte)source, (ulong)(byte)(source >> 8)).AsByte();
    }

    internal readonly struct ZeroExtendWordToDword : IExtend
    {
        public static int Bytes => 8;

        public static Vector128<byte> Run(ulong source) => WidenLower(CreateScalar(source).AsUInt16()).AsByte();
    }

    internal readonly struct ZeroExtendWordToQword : IExtend
    {
        public static int Bytes => 4;

        public static Vector128<byte> Run(ulong source) => Create((ushort)source, (ulong)(ushort)(source >> 16)).AsByte();
    }

    internal readonly struct ZeroExtendDwordToQword : IExtend
    {
        public static int Bytes => 8;

        public static Vector128<byte> Run(ulong source) => Create((uint)source, source >> 32).AsByte();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<T> Limit<T>(Vector128<T> value, T minimum, T maximum) where T : unmanaged => Max(Min(value, Create(maximum)), Create(minimum));

    private static ulong ShuffleWords(ulong words, int imm) =>
        (ushort)(words >> (imm & 3) * 16) | (ulong)(ushort)(words >> (imm >> 2 & 3) * 16) << 16
        | (ulong)(ushort)(words >> (imm >> 4 & 3) * 16) << 32 | (ulong)(ushort)(words >> (imm >> 6 & 3) * 16) << 48;
}
