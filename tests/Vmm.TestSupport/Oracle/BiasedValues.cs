using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Vmm.TestSupport.Oracle;

/// <summary>Values biased to where instructions go wrong: edges, powers of two, NaNs, infinities, denormals, ties.</summary>
public static class BiasedValues
{
    private static readonly uint[] s_floats =
    [
        0, 0x8000_0000, 0x3F80_0000, 0xBF80_0000, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0xFFC0_0000, 0x7FA0_0001, 0xFF80_0001, 0x7F80_0001,
        0x7FFF_FFFF, 1, 0x8000_0001, 0x007F_FFFF, 0x807F_FFFF, 0x0080_0000, 0x8080_0000, 0x7F7F_FFFF, 0xFF7F_FFFF, 0x3F00_0000, 0x3FC0_0000,
        0x4020_0000, 0xBF00_0000, 0x4F00_0000, 0xCF00_0000, 0x4EFF_FFFF, 0x5F00_0000, 0xDF00_0000, 0x4B00_0001, 0x3F7F_FFFF, 0x3F80_0001,
        0x3EFF_FFFF, 0x3F00_0001, 0x4F80_0000, 0x3380_0000, 0x3380_0001, 0x0000_8000, 0x4049_0FDB, 0x4700_0000,
    ];

    private static readonly ulong[] s_doubles =
    [
        0, 1UL << 63, 0x3FF0_0000_0000_0000, 0xBFF0_0000_0000_0000, 0x7FF0_0000_0000_0000, 0xFFF0_0000_0000_0000, 0x7FF8_0000_0000_0000,
        0xFFF8_0000_0000_0000, 0x7FF0_0000_0000_0001, 0xFFF4_0000_0000_0000, 0x7FFF_FFFF_FFFF_FFFF, 1, 0x8000_0000_0000_0001,
        0x000F_FFFF_FFFF_FFFF, 0x800F_FFFF_FFFF_FFFF, 0x0010_0000_0000_0000, 0x8010_0000_0000_0000, 0x7FEF_FFFF_FFFF_FFFF,
        0xFFEF_FFFF_FFFF_FFFF, 0x3FE0_0000_0000_0000, 0x3FF8_0000_0000_0000, 0x4004_0000_0000_0000, 0xBFE0_0000_0000_0000,
        0x41E0_0000_0000_0000, 0xC1E0_0000_0000_0000, 0xC1E0_0000_0010_0000, 0x41DF_FFFF_FFC0_0000, 0x41DF_FFFF_FFE0_0000,
        0x43E0_0000_0000_0000, 0xC3E0_0000_0000_0000, 0x43DF_FFFF_FFFF_FFFF, 0x4330_0000_0000_0001, 0x3FEF_FFFF_FFFF_FFFF,
        0x3FF0_0000_0000_0001, 0x36A0_0000_0000_0000, 0x3690_0000_0000_0000, 0x3810_0000_0000_0000, 0x380F_FFFF_FFFF_FFFF,
        0x47EF_FFFF_E000_0000, 0x47EF_FFFF_F000_0000, 0x47F0_0000_0000_0000, 0x3FF0_0000_1000_0000, 0x3FF0_0000_3000_0000,
        0x4009_21FB_5444_2D18, 0x43F0_0000_0000_0000,
    ];

    private static readonly ushort[] s_exponents80 = [0, 1, 2, 0x3FFE, 0x3FFF, 0x4000, 0x3FBE, 0x403D, 0x403E, 0x403F, 0x7FFD, 0x7FFE, 0x7FFF, 0x3C01, 0x3F81];

    private static readonly ulong[] s_mantissas80 =
    [
        0, 1, 1UL << 63, (1UL << 63) | 1, ulong.MaxValue, 0xC000_0000_0000_0000, 0xA000_0000_0000_0000, 0x8000_0000_0000_0400,
        0x8000_0080_0000_0000, 0x7FFF_FFFF_FFFF_FFFF, 0x4000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FC00, 0xFFFF_FF00_0000_0000, 0xC90F_DAA2_2168_C235,
    ];

    /// <summary>An integer of <paramref name="bits"/> bits biased to edges.</summary>
    public static ulong Integer(ref OracleRandom random, int bits)
    {
        ulong value;
        switch (random.Below(10))
        {
            case 0: value = 0; break;
            case 1: value = ulong.MaxValue; break;
            case 2: value = 1UL << (bits - 1); break;
            case 3: value = (1UL << (bits - 1)) - 1; break;
            case 4: value = (ulong)random.Below(66); break;
            case 5: value = 0 - (ulong)random.Below(66); break;
            case 6: value = 1UL << random.Below(bits); break;
            case 7: value = (1UL << random.Below(bits)) - 1; break;
            default: value = random.Next(); break;
        }

        return bits == 64 ? value : value & ((1UL << bits) - 1);
    }

    /// <summary>A general register: an edge value of some operand size, with random bits above it half of the time.</summary>
    public static ulong Register(ref OracleRandom random)
    {
        int bits = 8 << random.Below(4);
        ulong value = Integer(ref random, bits);
        return bits == 64 || random.Percent(50) ? value : value | (random.Next() << bits);
    }

    /// <summary>The bits of a half-precision number.</summary>
    public static ushort Half(ref OracleRandom random) => random.Percent(50)
        ? random.Pick<ushort>([0, 0x8000, 0x3C00, 0x7C00, 0xFC00, 0x7E00, 0x7C01, 1, 0x3FF, 0x400, 0x7BFF, 0x8001, 0xFBFF])
        : (ushort)random.Next();

    /// <summary>The bits of a single-precision number.</summary>
    public static uint Single(ref OracleRandom random) => random.Below(8) switch
    {
        0 or 1 or 2 => random.Pick<uint>(s_floats),
        3 => BitConverter.SingleToUInt32Bits(random.Between(-1000, 1000) / 4f),
        4 => (uint)random.Next() & 0x807F_FFFF | ((uint)random.Between(100, 154) << 23),
        5 => BitConverter.SingleToUInt32Bits(unchecked((int)random.Next())),
        6 => (uint)random.Next() & 0x80FF_FFFF,
        _ => (uint)random.Next(),
    };

    /// <summary>The bits of a double-precision number.</summary>
    public static ulong Double(ref OracleRandom random) => random.Below(8) switch
    {
        0 or 1 or 2 => random.Pick<ulong>(s_doubles),
        3 => BitConverter.DoubleToUInt64Bits(random.Between(-1000, 1000) / 4.0),
        4 => random.Next() & 0x800F_FFFF_FFFF_FFFF | ((ulong)random.Between(1023 - 30, 1023 + 66) << 52),
        5 => BitConverter.DoubleToUInt64Bits(unchecked((long)random.Next())),
        6 => random.Next() & 0x801F_FFFF_FFFF_FFFF,
        _ => random.Next(),
    };

    /// <summary>Sign, exponent and mantissa of an 80-bit number; now and then an unsupported encoding.</summary>
    public static (ushort SignExponent, ulong Mantissa) Extended(ref OracleRandom random)
    {
        ushort sign = (ushort)(random.Below(2) << 15);
        switch (random.Below(10))
        {
            case 0:
                return (sign, random.Percent(50) ? 0UL : random.Next() >> random.Below(64));
            case 1:
                return ((ushort)(sign | random.Pick<ushort>(s_exponents80)), random.Pick<ulong>(s_mantissas80));
            case 2:
                return ((ushort)(sign | 0x7FFF), random.Pick<ulong>([1UL << 63, 0xC000_0000_0000_0000, 0xA000_0000_0000_0001, ulong.MaxValue]));
            case 3:
                return ((ushort)(sign | random.Pick<ushort>(s_exponents80)), random.Next() | (1UL << 63));
            case 4:
            case 5:
                int value = random.Between(1, 4000);
                int shift = System.Numerics.BitOperations.LeadingZeroCount((ulong)value);
                return ((ushort)(sign | (0x3FFF + 63 - shift - random.Below(5))), (ulong)value << shift);
            case 6:
                return ((ushort)random.Next(), random.Next());
            default:
                return ((ushort)(sign | (0x3FFF + random.Between(-70, 70))), random.Next() | (1UL << 63));
        }
    }

    /// <summary>Fills memory or a register image.</summary>
    public static void Fill(ref OracleRandom random, LaneKind kind, Span<byte> bytes)
    {
        switch (kind)
        {
            case LaneKind.Int8:
                foreach (ref byte b in bytes)
                {
                    b = (byte)Integer(ref random, 8);
                }

                break;
            case LaneKind.Int16:
                foreach (ref ushort w in MemoryMarshal.Cast<byte, ushort>(bytes))
                {
                    w = (ushort)Integer(ref random, 16);
                }

                break;
            case LaneKind.Int32:
                foreach (ref uint d in MemoryMarshal.Cast<byte, uint>(bytes))
                {
                    d = (uint)Integer(ref random, 32);
                }

                break;
            case LaneKind.Float16:
                foreach (ref ushort w in MemoryMarshal.Cast<byte, ushort>(bytes))
                {
                    w = Half(ref random);
                }

                break;
            case LaneKind.Float32:
                foreach (ref uint d in MemoryMarshal.Cast<byte, uint>(bytes))
                {
                    d = Single(ref random);
                }

                break;
            case LaneKind.Int64 or LaneKind.Float64 or LaneKind.Count or LaneKind.Random:
                foreach (ref ulong q in MemoryMarshal.Cast<byte, ulong>(bytes))
                {
                    q = kind switch
                    {
                        LaneKind.Int64 => Integer(ref random, 64),
                        LaneKind.Float64 => Double(ref random),
                        LaneKind.Count => (ulong)random.Below(70),
                        _ => random.Next(),
                    };
                }

                break;
            case LaneKind.Float80:
                for (; bytes.Length >= 10; bytes = bytes[10..])
                {
                    (ushort signExponent, ulong mantissa) = Extended(ref random);
                    BinaryPrimitives.WriteUInt64LittleEndian(bytes, mantissa);
                    BinaryPrimitives.WriteUInt16LittleEndian(bytes[8..], signExponent);
                }

                break;
            case LaneKind.Bcd:
                for (int i = 0; i < bytes.Length; i++)
                {
                    bytes[i] = i % 10 == 9 ? (byte)(random.Below(2) << 7) : (byte)((random.Below(10) << 4) | random.Below(10));
                }

                break;
            case LaneKind.Text:
                foreach (ref byte b in bytes)
                {
                    b = random.Pick("\0abcdeAZ\u00FF"u8);
                }

                break;
            case LaneKind.Uniform:
                bytes.Fill(random.Percent(50) ? (byte)0 : (byte)0xFF);
                break;
        }
    }
}
