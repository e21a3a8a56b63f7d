// FIPS 197 (AES), FIPS 180-4 (SHA); Intel SDM vol. 2: AESENC, AESDEC, AESIMC, AESKEYGENASSIST, PCLMULQDQ, SHA1x, SHA256x.
using System.Numerics;
using System.Runtime.Intrinsics;

namespace Vmm.Backends.Software.Interpret;

/// <summary>AES, carry-less multiplication and SHA on 128 bits.</summary>
internal static class CryptoLanes
{
    private static readonly byte[] s_box = MakeBox();
    private static readonly byte[] s_inverseBox = Invert(s_box);

    // A substituted byte times the first column of MixColumns or its inverse; the other columns are rotations.
    private static readonly uint[] s_encrypt = MakeTable(s_box, 2, 1, 1, 3);
    private static readonly uint[] s_decrypt = MakeTable(s_inverseBox, 14, 9, 13, 11);

    internal readonly struct Encrypt : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => Mixed(a, s_encrypt, 1) ^ b;
    }

    internal readonly struct EncryptLast : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => Substituted(a, s_box, 1) ^ b;
    }

    internal readonly struct Decrypt : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => Mixed(a, s_decrypt, 3) ^ b;
    }

    internal readonly struct DecryptLast : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => Substituted(a, s_inverseBox, 3) ^ b;
    }

    /// <summary>AESIMC: the table holds inverse-mixed inverse substitutions, so the operand is substituted first.</summary>
    internal readonly struct InverseMix : IUnary
    {
        public static Vector128<byte> Run(Vector128<byte> a, int imm) => Mixed(Substituted(a, s_box, 0), s_decrypt, 0);
    }

    /// <summary>AESKEYGENASSIST.</summary>
    internal readonly struct KeyAssist : IUnary
    {
        public static Vector128<byte> Run(Vector128<byte> a, int imm)
        {
            var (first, third) = (SubstituteWord(a.AsUInt32().GetElement(1)), SubstituteWord(a.AsUInt32().GetElement(3)));
            var constant = (uint)(byte)imm;
            return Vector128.Create(first, BitOperations.RotateRight(first, 8) ^ constant, third, BitOperations.RotateRight(third, 8) ^ constant).AsByte();
        }
    }

    internal readonly struct MultiplyCarryLess : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var (x, y) = (a.AsUInt64().GetElement(imm & 1), b.AsUInt64().GetElement(imm >> 4 & 1));
            ulong low = 0, high = 0;
            for (; y != 0; y &= y - 1)
            {
                var shift = BitOperations.TrailingZeroCount(y);
                low ^= x << shift;
                high ^= x >> 1 >> (63 - shift);
            }

            return Vector128.Create(low, high).AsByte();
        }
    }

    internal readonly struct Sha1Rounds4 : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var (state, words) = (a.AsUInt32(), b.AsUInt32());
            var (va, vb, vc, vd, ve) = (state.GetElement(3), state.GetElement(2), state.GetElement(1), state.GetElement(0), 0u);
            for (var i = 3; i >= 0; i--)
            {
                var (f, k) = (imm & 3) switch
                {
                    0 => ((vb & vc) ^ (~vb & vd), 0x5A827999u),
                    1 => (vb ^ vc ^ vd, 0x6ED9EBA1u),
                    2 => ((vb & vc) ^ (vb & vd) ^ (vc & vd), 0x8F1BBCDCu),
                    _ => (vb ^ vc ^ vd, 0xCA62C1D6u),
                };
                var next = f + BitOperations.RotateLeft(va, 5) + words.GetElement(i) + ve + k;
                (va, vb, vc, vd, ve) = (next, va, BitOperations.RotateLeft(vb, 30), vc, vd);
            }

            return Vector128.Create(vd, vc, vb, va).AsByte();
        }
    }

    internal readonly struct Sha1NextE : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var words = b.AsUInt32();
            return words.WithElement(3, words.GetElement(3) + BitOperations.RotateLeft(a.AsUInt32().GetElement(3), 30)).AsByte();
        }
    }

    internal readonly struct Sha1Message1 : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => a ^ Vector128.Create(b.GetUpper(), a.GetLower());
    }

    internal readonly struct Sha1Message2 : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var (x, y) = (a.AsUInt32(), b.AsUInt32());
            var w16 = BitOperations.RotateLeft(x.GetElement(3) ^ y.GetElement(2), 1);
            var w17 = BitOperations.RotateLeft(x.GetElement(2) ^ y.GetElement(1), 1);
            var w18 = BitOperations.RotateLeft(x.GetElement(1) ^ y.GetElement(0), 1);
            return Vector128.Create(BitOperations.RotateLeft(x.GetElement(0) ^ w16, 1), w18, w17, w16).AsByte();
        }
    }

    internal readonly struct Sha256Rounds2 : ITernary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, Vector128<byte> c)
        {
            var (x, y) = (a.AsUInt32(), b.AsUInt32());
            var (va, vb, vc, vd) = (y.GetElement(3), y.GetElement(2), x.GetElement(3), x.GetElement(2));
            var (ve, vf, vg, vh) = (y.GetElement(1), y.GetElement(0), x.GetElement(1), x.GetElement(0));
            for (var i = 0; i < 2; i++)
            {
                var sum = ((ve & vf) ^ (~ve & vg))
                    + (BitOperations.RotateRight(ve, 6) ^ BitOperations.RotateRight(ve, 11) ^ BitOperations.RotateRight(ve, 25))
                    + c.AsUInt32().GetElement(i) + vh;
                var next = sum + ((va & vb) ^ (va & vc) ^ (vb & vc))
                    + (BitOperations.RotateRight(va, 2) ^ BitOperations.RotateRight(va, 13) ^ BitOperations.RotateRight(va, 22));
                (va, vb, vc, vd, ve, vf, vg, vh) = (next, va, vb, vc, sum + vd, ve, vf, vg);
            }

            return Vector128.Create(vf, ve, vb, va).AsByte();
        }
    }

    internal readonly struct Sha256Message1 : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var x = a.AsUInt32();
            var next = Vector128.Create(x.GetElement(1), x.GetElement(2), x.GetElement(3), b.AsUInt32().GetElement(0));
            return (x + (Rotated(next, 7) ^ Rotated(next, 18) ^ (next >>> 3))).AsByte();
        }
    }

    internal readonly struct Sha256Message2 : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var (x, y) = (a.AsUInt32(), b.AsUInt32());
            var w16 = x.GetElement(0) + Sigma(y.GetElement(2));
            var w17 = x.GetElement(1) + Sigma(y.GetElement(3));
            return Vector128.Create(w16, w17, x.GetElement(2) + Sigma(w16), x.GetElement(3) + Sigma(w17)).AsByte();
        }

        private static uint Sigma(uint w) => BitOperations.RotateRight(w, 17) ^ BitOperations.RotateRight(w, 19) ^ w >> 10;
    }

    private static Vector128<uint> Rotated(Vector128<uint> value, int count) => (value >>> count) | (value << (32 - count));

    // Row r of column c comes from column c + r * step: 1 for ShiftRows, 3 for its inverse, 0 for neither.
    private static Vector128<byte> Mixed(Vector128<byte> state, uint[] table, int step)
    {
        var columns = state.AsUInt32();
        var (c0, c1, c2, c3) = (columns.GetElement(0), columns.GetElement(1), columns.GetElement(2), columns.GetElement(3));
        return (step switch
        {
            0 => Vector128.Create(Column(table, c0, c0, c0, c0), Column(table, c1, c1, c1, c1), Column(table, c2, c2, c2, c2), Column(table, c3, c3, c3, c3)),
            1 => Vector128.Create(Column(table, c0, c1, c2, c3), Column(table, c1, c2, c3, c0), Column(table, c2, c3, c0, c1), Column(table, c3, c0, c1, c2)),
            _ => Vector128.Create(Column(table, c0, c3, c2, c1), Column(table, c1, c0, c3, c2), Column(table, c2, c1, c0, c3), Column(table, c3, c2, c1, c0)),
        }).AsByte();
    }

    private static uint Column(uint[] table, uint c0, uint c1, uint c2, uint c3) => table[(byte)c0] ^ BitOperations.RotateLeft(table[(byte)(c1 >> 8)], 8)
        ^ BitOperations.RotateLeft(table[(byte)(c2 >> 16)], 16) ^ BitOperations.RotateLeft(table[c3 >> 24], 24);

    private static Vector128<byte> Substituted(Vector128<byte> state, byte[] box, int step)
    {
        var result = Vector128<byte>.Zero;
        for (var i = 0; i < 16; i++) result = result.WithElement(i, box[state.GetElement((i / 4 + (i & 3) * step & 3) * 4 + (i & 3))]);
        return result;
    }

    private static uint SubstituteWord(uint word) =>
        s_box[(byte)word] | (uint)s_box[(byte)(word >> 8)] << 8 | (uint)s_box[(byte)(word >> 16)] << 16 | (uint)s_box[word >> 24] << 24;

    private static byte[] MakeBox()
    {
        // p runs through the powers of 3, q through their inverses.
        var box = new byte[256];
        byte p = 1, q = 1;
        do
        {
            p = (byte)(p ^ Double(p));
            q ^= (byte)(q << 1);
            q ^= (byte)(q << 2);
            q ^= (byte)(q << 4);
            if ((q & 0x80) != 0) q ^= 0x09;
            box[p] = (byte)(q ^ byte.RotateLeft(q, 1) ^ byte.RotateLeft(q, 2) ^ byte.RotateLeft(q, 3) ^ byte.RotateLeft(q, 4) ^ 0x63);
        }
        while (p != 1);
        box[0] = 0x63;
        return box;
    }

    private static byte[] Invert(byte[] box)
    {
        var inverse = new byte[256];
        for (var i = 0; i < 256; i++) inverse[box[i]] = (byte)i;
        return inverse;
    }

    private static uint[] MakeTable(byte[] box, int c0, int c1, int c2, int c3)
    {
        var table = new uint[256];
        for (var i = 0; i < 256; i++) table[i] = Times(box[i], c0) | Times(box[i], c1) << 8 | Times(box[i], c2) << 16 | Times(box[i], c3) << 24;
        return table;
    }

    private static uint Times(byte value, int factor)
    {
        byte result = 0;
        for (; factor != 0; factor >>= 1)
        {
            if ((factor & 1) != 0) result ^= value;
            value = Double(value);
        }

        return result;
    }

    private static byte Double(byte value) => (byte)(value << 1 ^ ((value & 0x80) != 0 ? 0x1B : 0));
}
