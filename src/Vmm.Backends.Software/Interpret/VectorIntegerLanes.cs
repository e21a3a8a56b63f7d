// Intel SDM vol. 2: PADDx, PSUBx, PMULx, PCMPx, PMINx, PMAXx, PAVGx, PSADBW, PABSx, PSIGNx, PHADDx and the logical instructions.
using System.Runtime.Intrinsics;
using static System.Runtime.Intrinsics.Vector128;

namespace Vmm.Backends.Software.Interpret;

/// <summary>Integer and logical operations on the lanes of 128 bits. MMX forms may use the lane-wise ones on a zero-extended operand.</summary>
internal static class VectorIntegerLanes
{
    internal readonly struct Add<T> : IBinary where T : unmanaged
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => (a.As<byte, T>() + b.As<byte, T>()).AsByte();
    }

    internal readonly struct Sub<T> : IBinary where T : unmanaged
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => (a.As<byte, T>() - b.As<byte, T>()).AsByte();
    }

    internal readonly struct AddSat<T> : IBinary where T : unmanaged
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => AddSaturate(a.As<byte, T>(), b.As<byte, T>()).AsByte();
    }

    internal readonly struct SubSat<T> : IBinary where T : unmanaged
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => SubtractSaturate(a.As<byte, T>(), b.As<byte, T>()).AsByte();
    }

    internal readonly struct MulLow<T> : IBinary where T : unmanaged
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => (a.As<byte, T>() * b.As<byte, T>()).AsByte();
    }

    internal readonly struct MulHighSigned : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var low = (WidenLower(a.AsInt16()) * WidenLower(b.AsInt16())) >> 16;
            var high = (WidenUpper(a.AsInt16()) * WidenUpper(b.AsInt16())) >> 16;
            return Narrow(low, high).AsByte();
        }
    }

    internal readonly struct MulHighUnsigned : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var low = (WidenLower(a.AsUInt16()) * WidenLower(b.AsUInt16())) >> 16;
            var high = (WidenUpper(a.AsUInt16()) * WidenUpper(b.AsUInt16())) >> 16;
            return Narrow(low, high).AsByte();
        }
    }

    /// <summary>PMULHRSW.</summary>
    internal readonly struct MulHighRounded : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var low = (((WidenLower(a.AsInt16()) * WidenLower(b.AsInt16())) >> 14) + Vector128<int>.One) >> 1;
            var high = (((WidenUpper(a.AsInt16()) * WidenUpper(b.AsInt16())) >> 14) + Vector128<int>.One) >> 1;
            return Narrow(low, high).AsByte();
        }
    }

    /// <summary>PMULUDQ.</summary>
    internal readonly struct MulEvenUnsigned : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var mask = Create((ulong)uint.MaxValue);
            return ((a.AsUInt64() & mask) * (b.AsUInt64() & mask)).AsByte();
        }
    }

    /// <summary>PMULDQ.</summary>
    internal readonly struct MulEvenSigned : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) =>
            Create((long)a.AsInt32().GetElement(0) * b.AsInt32().GetElement(0), (long)a.AsInt32().GetElement(2) * b.AsInt32().GetElement(2)).AsByte();
    }

    /// <summary>PMADDWD.</summary>
    internal readonly struct MulAddWords : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var (x, y) = (a.AsInt32(), b.AsInt32());
            return ((((x << 16) >> 16) * ((y << 16) >> 16)) + ((x >> 16) * (y >> 16))).AsByte();
        }
    }

    /// <summary>PMADDUBSW: unsigned bytes of the first source, signed ones of the second.</summary>
    internal readonly struct MulAddBytes : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var (x, y) = (a.AsInt16(), b.AsInt16());
            var even = (x & Create((short)0xFF)) * ((y << 8) >> 8);
            var odd = (x >>> 8) * (y >> 8);
            return AddSaturate(even, odd).AsByte();
        }
    }

    internal readonly struct CompareEqual<T> : IBinary where T : unmanaged
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => Vector128.Equals(a.As<byte, T>(), b.As<byte, T>()).AsByte();
    }

    internal readonly struct CompareGreater<T> : IBinary where T : unmanaged
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => GreaterThan(a.As<byte, T>(), b.As<byte, T>()).AsByte();
    }

    internal readonly struct Smaller<T> : IBinary where T : unmanaged
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => Min(a.As<byte, T>(), b.As<byte, T>()).AsByte();
    }

    internal readonly struct Greater<T> : IBinary where T : unmanaged
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => Max(a.As<byte, T>(), b.As<byte, T>()).AsByte();
    }

    /// <summary>PAVGB, PAVGW.</summary>
    internal readonly struct Average<T> : IBinary where T : unmanaged
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var (x, y) = (a.As<byte, T>(), b.As<byte, T>());
            return ((x | y) - ((x ^ y) >>> 1)).AsByte();
        }
    }

    /// <summary>PSADBW.</summary>
    internal readonly struct SumOfDifferences : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var words = (Max(a, b) - Min(a, b)).AsUInt16();
            words = (words & Create((ushort)0xFF)) + (words >>> 8);
            var dwords = words.AsUInt32();
            dwords = (dwords & Create(0xFFFFu)) + (dwords >>> 16);
            var qwords = dwords.AsUInt64();
            return ((qwords & Create((ulong)uint.MaxValue)) + (qwords >>> 32)).AsByte();
        }
    }

    internal readonly struct And : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => a & b;
    }

    /// <summary>PANDN: the first source is inverted.</summary>
    internal readonly struct InvertAnd : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => ~a & b;
    }

    internal readonly struct Or : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => a | b;
    }

    internal readonly struct Xor : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm) => a ^ b;
    }

    /// <summary>PSIGNB, PSIGNW, PSIGND.</summary>
    internal readonly struct Sign<T> : IBinary where T : unmanaged
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var (x, y) = (a.As<byte, T>(), b.As<byte, T>());
            var negative = LessThan(y, Vector128<T>.Zero);
            return (((x ^ negative) - negative) & ~Vector128.Equals(y, Vector128<T>.Zero)).AsByte();
        }
    }

    /// <summary>PABSB, PABSW, PABSD; the most negative value stays.</summary>
    internal readonly struct Absolute<T> : IUnary where T : unmanaged
    {
        public static Vector128<byte> Run(Vector128<byte> a, int imm)
        {
            var x = a.As<byte, T>();
            var negative = LessThan(x, Vector128<T>.Zero);
            return ((x ^ negative) - negative).AsByte();
        }
    }

    /// <summary>PHADDW, PHSUBW and their saturating forms.</summary>
    internal readonly struct PairWords<TOp> : IBinary where TOp : struct, IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var (x, y) = (a.AsUInt32(), b.AsUInt32());
            return TOp.Run(Narrow(x, y).AsByte(), Narrow(x >>> 16, y >>> 16).AsByte(), 0);
        }
    }

    /// <summary>PHADDD, PHSUBD.</summary>
    internal readonly struct PairDwords<TOp> : IBinary where TOp : struct, IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var (x, y) = (a.AsUInt64(), b.AsUInt64());
            return TOp.Run(Narrow(x, y).AsByte(), Narrow(x >>> 32, y >>> 32).AsByte(), 0);
        }
    }

    /// <summary>PHMINPOSUW.</summary>
    internal readonly struct MinimumPosition : IUnary
    {
        public static Vector128<byte> Run(Vector128<byte> a, int imm)
        {
            var words = a.AsUInt16();
            var at = 0;
            for (var i = 1; i < 8; i++)
            {
                if (words.GetElement(i) < words.GetElement(at)) at = i;
            }

            return CreateScalar((uint)words.GetElement(at) | (uint)at << 16).AsByte();
        }
    }

    /// <summary>MPSADBW; bits 5:3 of the immediate belong to the upper half.</summary>
    internal readonly struct MultipleSums : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var from = imm & 4;
            var block = (imm & 3) * 4;
            var result = Vector128<ushort>.Zero;
            for (var i = 0; i < 8; i++)
            {
                var sum = 0;
                for (var j = 0; j < 4; j++) sum += Math.Abs(a.GetElement(from + i + j) - b.GetElement(block + j));
                result = result.WithElement(i, (ushort)sum);
            }

            return result.AsByte();
        }

        public static int HighImmediate(int imm) => imm >> 3;
    }

    internal readonly struct ShiftLeft<T> : IShift where T : unmanaged
    {
        public static Vector128<byte> Run(Vector128<byte> a, ulong count) =>
            count >= (ulong)System.Runtime.CompilerServices.Unsafe.SizeOf<T>() * 8 ? default : (a.As<byte, T>() << (int)count).AsByte();
    }

    internal readonly struct ShiftRight<T> : IShift where T : unmanaged
    {
        public static Vector128<byte> Run(Vector128<byte> a, ulong count) =>
            count >= (ulong)System.Runtime.CompilerServices.Unsafe.SizeOf<T>() * 8 ? default : (a.As<byte, T>() >>> (int)count).AsByte();
    }

    internal readonly struct ShiftArithmetic<T> : IShift where T : unmanaged
    {
        public static Vector128<byte> Run(Vector128<byte> a, ulong count)
        {
            var last = (ulong)System.Runtime.CompilerServices.Unsafe.SizeOf<T>() * 8 - 1;
            return (a.As<byte, T>() >> (int)Math.Min(count, last)).AsByte();
        }
    }

    internal readonly struct ShiftDwordsLeftEach : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var (x, y) = (a.AsUInt32(), b.AsUInt32());
            return Create(Shift(x.GetElement(0), y.GetElement(0)), Shift(x.GetElement(1), y.GetElement(1)), Shift(x.GetElement(2), y.GetElement(2)), Shift(x.GetElement(3), y.GetElement(3))).AsByte();
        }

        private static uint Shift(uint value, uint count) => count > 31 ? 0 : value << (int)count;
    }

    internal readonly struct ShiftDwordsRightEach : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var (x, y) = (a.AsUInt32(), b.AsUInt32());
            return Create(Shift(x.GetElement(0), y.GetElement(0)), Shift(x.GetElement(1), y.GetElement(1)), Shift(x.GetElement(2), y.GetElement(2)), Shift(x.GetElement(3), y.GetElement(3))).AsByte();
        }

        private static uint Shift(uint value, uint count) => count > 31 ? 0 : value >> (int)count;
    }

    internal readonly struct ShiftQwordsLeftEach : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var (x, y) = (a.AsUInt64(), b.AsUInt64());
            return Create(Shift(x.GetElement(0), y.GetElement(0)), Shift(x.GetElement(1), y.GetElement(1))).AsByte();
        }

        private static ulong Shift(ulong value, ulong count) => count > 63 ? 0 : value << (int)count;
    }

    internal readonly struct ShiftQwordsRightEach : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var (x, y) = (a.AsUInt64(), b.AsUInt64());
            return Create(Shift(x.GetElement(0), y.GetElement(0)), Shift(x.GetElement(1), y.GetElement(1))).AsByte();
        }

        private static ulong Shift(ulong value, ulong count) => count > 63 ? 0 : value >> (int)count;
    }

    /// <summary>VPSRAVD.</summary>
    internal readonly struct ShiftArithmeticEach : IBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm)
        {
            var (x, y) = (a.AsInt32(), b.AsUInt32());
            return Create(Shift(x.GetElement(0), y.GetElement(0)), Shift(x.GetElement(1), y.GetElement(1)), Shift(x.GetElement(2), y.GetElement(2)), Shift(x.GetElement(3), y.GetElement(3))).AsByte();
        }

        private static int Shift(int value, uint count) => value >> (int)Math.Min(count, 31);
    }
}
