// Intel SDM vol. 2: the x87 arithmetic, as types that handlers are specialised with.
using Vmm.Backends.Software.FloatingPoint;

namespace Vmm.Backends.Software.Interpret;

/// <summary>An operation on destination and source.</summary>
internal interface IX87Binary
{
    static abstract Float80 Run(in Unpacked destination, in Unpacked source, uint control, ref uint status);
}

/// <summary>An operation that replaces ST0.</summary>
internal interface IX87Unary
{
    /// <summary>The condition codes that it defines beside C1.</summary>
    static virtual uint Codes => 0;

    static abstract Float80 Run(in Float80 st0, uint control, ref uint status);
}

/// <summary>An operation of ST0 and ST1.</summary>
internal interface IX87Pair
{
    /// <summary>The condition codes that it defines beside C1.</summary>
    static virtual uint Codes => 0;

    /// <summary>Whether the result goes to ST1 and the stack is popped; else to ST0.</summary>
    static abstract bool Pops { get; }

    static abstract Float80 Run(in Float80 st0, in Float80 st1, uint control, ref uint status);
}

/// <summary>A number in memory.</summary>
internal interface IX87Memory<T> where T : unmanaged
{
    /// <summary>As an operand of arithmetic: NaNs not yet quieted, denormals not yet reported.</summary>
    static abstract Unpacked Decode(T value);

    /// <summary>FLD, FILD.</summary>
    static abstract Float80 Load(T value, ref uint status);

    /// <summary>FST, FIST.</summary>
    static abstract T Store(in Float80 value, uint control, ref uint status);

    /// <summary>What is stored of an empty register.</summary>
    static abstract T Indefinite { get; }

    /// <summary>Whether unmasked overflow and underflow keep the store from happening.</summary>
    static abstract bool IsReal { get; }
}

/// <summary>The operations.</summary>
internal static class X87Operations
{
    internal readonly struct Add : IX87Binary
    {
        public static Float80 Run(in Unpacked destination, in Unpacked source, uint control, ref uint status) => X87Math.Add(destination, source, control, ref status);
    }

    internal readonly struct Sub : IX87Binary
    {
        public static Float80 Run(in Unpacked destination, in Unpacked source, uint control, ref uint status) => X87Math.Subtract(destination, source, control, ref status);
    }

    internal readonly struct SubReversed : IX87Binary
    {
        public static Float80 Run(in Unpacked destination, in Unpacked source, uint control, ref uint status) => X87Math.Subtract(source, destination, control, ref status);
    }

    internal readonly struct Mul : IX87Binary
    {
        public static Float80 Run(in Unpacked destination, in Unpacked source, uint control, ref uint status) => X87Math.Multiply(destination, source, control, ref status);
    }

    internal readonly struct Div : IX87Binary
    {
        public static Float80 Run(in Unpacked destination, in Unpacked source, uint control, ref uint status) => X87Math.Divide(destination, source, control, ref status);
    }

    internal readonly struct DivReversed : IX87Binary
    {
        public static Float80 Run(in Unpacked destination, in Unpacked source, uint control, ref uint status) => X87Math.Divide(source, destination, control, ref status);
    }

    internal readonly struct Absolute : IX87Unary
    {
        public static Float80 Run(in Float80 st0, uint control, ref uint status) => st0.Absolute;
    }

    internal readonly struct ChangeSign : IX87Unary
    {
        public static Float80 Run(in Float80 st0, uint control, ref uint status) => st0.Negated;
    }

    internal readonly struct SquareRoot : IX87Unary
    {
        public static Float80 Run(in Float80 st0, uint control, ref uint status) => X87Math.SquareRoot(st0.Unpack(), control, ref status);
    }

    internal readonly struct RoundToInteger : IX87Unary
    {
        public static Float80 Run(in Float80 st0, uint control, ref uint status) => X87Math.RoundToInteger(st0, control, ref status);
    }

    internal readonly struct PowerOf2Minus1 : IX87Unary
    {
        public static Float80 Run(in Float80 st0, uint control, ref uint status) => X87Math.PowerOf2Minus1(st0, control, ref status);
    }

    internal readonly struct Sine : IX87Unary
    {
        public static uint Codes => FpFlags.C2;

        public static Float80 Run(in Float80 st0, uint control, ref uint status) => X87Math.Sine(st0, control, ref status);
    }

    internal readonly struct Cosine : IX87Unary
    {
        public static uint Codes => FpFlags.C2;

        public static Float80 Run(in Float80 st0, uint control, ref uint status) => X87Math.Cosine(st0, control, ref status);
    }

    internal readonly struct Remainder : IX87Pair
    {
        public static uint Codes => FpFlags.C0 | FpFlags.C2 | FpFlags.C3;
        public static bool Pops => false;

        public static Float80 Run(in Float80 st0, in Float80 st1, uint control, ref uint status) => X87Math.Remainder(st0, st1, false, control, ref status);
    }

    internal readonly struct RemainderNearest : IX87Pair
    {
        public static uint Codes => FpFlags.C0 | FpFlags.C2 | FpFlags.C3;
        public static bool Pops => false;

        public static Float80 Run(in Float80 st0, in Float80 st1, uint control, ref uint status) => X87Math.Remainder(st0, st1, true, control, ref status);
    }

    internal readonly struct Scale : IX87Pair
    {
        public static bool Pops => false;

        public static Float80 Run(in Float80 st0, in Float80 st1, uint control, ref uint status) => X87Math.Scale(st0, st1, control, ref status);
    }

    internal readonly struct ArcTangent : IX87Pair
    {
        public static bool Pops => true;

        public static Float80 Run(in Float80 st0, in Float80 st1, uint control, ref uint status) => X87Math.ArcTangent(st1, st0, control, ref status);
    }

    internal readonly struct MultiplyLog2 : IX87Pair
    {
        public static bool Pops => true;

        public static Float80 Run(in Float80 st0, in Float80 st1, uint control, ref uint status) => X87Math.MultiplyLog2(st1, st0, control, ref status);
    }

    internal readonly struct MultiplyLog2Of1Plus : IX87Pair
    {
        public static bool Pops => true;

        public static Float80 Run(in Float80 st0, in Float80 st1, uint control, ref uint status) => X87Math.MultiplyLog2Of1Plus(st1, st0, control, ref status);
    }

    internal readonly struct Real32 : IX87Memory<uint>
    {
        public static uint Indefinite => 0xFFC0_0000;
        public static bool IsReal => true;

        public static Unpacked Decode(uint value) => Unpacked.Decode<Binary32>(value);

        public static Float80 Load(uint value, ref uint status) => X87Math.Load<Binary32>(value, ref status);

        public static uint Store(in Float80 value, uint control, ref uint status) => (uint)X87Math.Store<Binary32>(value, control, ref status);
    }

    internal readonly struct Real64 : IX87Memory<ulong>
    {
        public static ulong Indefinite => 0xFFF8_0000_0000_0000;
        public static bool IsReal => true;

        public static Unpacked Decode(ulong value) => Unpacked.Decode<Binary64>(value);

        public static Float80 Load(ulong value, ref uint status) => X87Math.Load<Binary64>(value, ref status);

        public static ulong Store(in Float80 value, uint control, ref uint status) => X87Math.Store<Binary64>(value, control, ref status);
    }

    internal readonly struct Integer16 : IX87Memory<short>
    {
        public static short Indefinite => short.MinValue;
        public static bool IsReal => false;

        public static Unpacked Decode(short value) => Unpacked.FromInteger(value);

        public static Float80 Load(short value, ref uint status) => Float80.FromInteger(value);

        public static short Store(in Float80 value, uint control, ref uint status) => (short)X87Math.StoreInteger(value, 16, false, control, ref status);
    }

    internal readonly struct Integer32 : IX87Memory<int>
    {
        public static int Indefinite => int.MinValue;
        public static bool IsReal => false;

        public static Unpacked Decode(int value) => Unpacked.FromInteger(value);

        public static Float80 Load(int value, ref uint status) => Float80.FromInteger(value);

        public static int Store(in Float80 value, uint control, ref uint status) => (int)X87Math.StoreInteger(value, 32, false, control, ref status);
    }

    internal readonly struct Integer64 : IX87Memory<long>
    {
        public static long Indefinite => long.MinValue;
        public static bool IsReal => false;

        public static Unpacked Decode(long value) => Unpacked.FromInteger(value);

        public static Float80 Load(long value, ref uint status) => Float80.FromInteger(value);

        public static long Store(in Float80 value, uint control, ref uint status) => X87Math.StoreInteger(value, 64, false, control, ref status);
    }

    /// <summary>FISTTP.</summary>
    internal readonly struct Truncated16 : IX87Memory<short>
    {
        public static short Indefinite => short.MinValue;
        public static bool IsReal => false;

        public static Unpacked Decode(short value) => Unpacked.FromInteger(value);

        public static Float80 Load(short value, ref uint status) => Float80.FromInteger(value);

        public static short Store(in Float80 value, uint control, ref uint status) => (short)X87Math.StoreInteger(value, 16, true, control, ref status);
    }

    /// <summary>FISTTP.</summary>
    internal readonly struct Truncated32 : IX87Memory<int>
    {
        public static int Indefinite => int.MinValue;
        public static bool IsReal => false;

        public static Unpacked Decode(int value) => Unpacked.FromInteger(value);

        public static Float80 Load(int value, ref uint status) => Float80.FromInteger(value);

        public static int Store(in Float80 value, uint control, ref uint status) => (int)X87Math.StoreInteger(value, 32, true, control, ref status);
    }

    /// <summary>FISTTP.</summary>
    internal readonly struct Truncated64 : IX87Memory<long>
    {
        public static long Indefinite => long.MinValue;
        public static bool IsReal => false;

        public static Unpacked Decode(long value) => Unpacked.FromInteger(value);

        public static Float80 Load(long value, ref uint status) => Float80.FromInteger(value);

        public static long Store(in Float80 value, uint control, ref uint status) => X87Math.StoreInteger(value, 64, true, control, ref status);
    }

    /// <summary>The 80-bit format: moved as it is.</summary>
    internal readonly struct Real80 : IX87Memory<Extended>
    {
        public static Extended Indefinite => new() { Significand = 0xC000_0000_0000_0000, SignExponent = 0xFFFF };
        public static bool IsReal => true;

        public static Unpacked Decode(Extended value) => new Float80(value.SignExponent, value.Significand).Unpack();

        public static Float80 Load(Extended value, ref uint status) => new(value.SignExponent, value.Significand);

        public static Extended Store(in Float80 value, uint control, ref uint status) => new() { Significand = value.Significand, SignExponent = value.SignExponent };
    }

    /// <summary>Packed decimal.</summary>
    internal readonly struct Decimal : IX87Memory<Extended>
    {
        public static Extended Indefinite => new() { Significand = 0xC000_0000_0000_0000, SignExponent = 0xFFFF };
        public static bool IsReal => false;

        public static Unpacked Decode(Extended value) => X87Math.LoadDecimal(value.Significand, value.SignExponent).Unpack();

        public static Float80 Load(Extended value, ref uint status) => X87Math.LoadDecimal(value.Significand, value.SignExponent);

        public static Extended Store(in Float80 value, uint control, ref uint status)
        {
            var (low, high) = X87Math.StoreDecimal(value, control, ref status);
            return new() { Significand = low, SignExponent = high };
        }
    }
}
