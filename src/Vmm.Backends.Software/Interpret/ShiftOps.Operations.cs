using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;

namespace Vmm.Backends.Software.Interpret;

internal static partial class ShiftOps
{
    private const ulong CarryBit = 1UL << 63, OverflowBit = 1UL << 62;

    /// <summary>
    /// What a shift or rotate computes. The count has been masked to 5 (or 6) bits and is not zero. Flags come after the result is
    /// stored. Where the manuals leave a flag undefined, it is what the formula for a count of one gives.
    /// </summary>
    private interface IShift
    {
        static abstract T Run<T>(ref CpuState s, T a, int count) where T : unmanaged;

        static abstract void SetFlags<T>(ref CpuState s, T a, T r, int count) where T : unmanaged;
    }

    private readonly struct Shl : IShift
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(ref CpuState s, T a, int count) where T : unmanaged => Width.Narrow<T>(Width.Zero(a) << count);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void SetFlags<T>(ref CpuState s, T a, T r, int count) where T : unmanaged
        {
            // Bit (width - count) goes out; narrow operands can be shifted by more than their width, which leaves zero.
            var carry = Unsafe.SizeOf<T>() == 8 ? Width.Zero(a) >> (64 - count) : (Width.Zero(a) << count) >> Width.Bits<T>();
            SetShift(ref s, r, carry, (carry << 63) ^ Width.Sign(r));
        }
    }

    private readonly struct Shr : IShift
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(ref CpuState s, T a, int count) where T : unmanaged => Width.Narrow<T>(Width.Zero(a) >> count);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void SetFlags<T>(ref CpuState s, T a, T r, int count) where T : unmanaged =>
            SetShift(ref s, r, Width.Zero(a) >> (count - 1), count == 1 ? Width.Sign(a) : 0);
    }

    private readonly struct Sar : IShift
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(ref CpuState s, T a, int count) where T : unmanaged => Width.Narrow<T>((ulong)((long)Width.Sign(a) >> count));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void SetFlags<T>(ref CpuState s, T a, T r, int count) where T : unmanaged =>
            SetShift(ref s, r, (ulong)((long)Width.Sign(a) >> (count - 1)), 0);
    }

    private readonly struct Rol : IShift
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(ref CpuState s, T a, int count) where T : unmanaged
        {
            if (Unsafe.SizeOf<T>() == 8) return Width.Narrow<T>(ulong.RotateLeft(Width.Zero(a), count));
            if (Unsafe.SizeOf<T>() == 4) return Width.Narrow<T>(uint.RotateLeft((uint)Width.Zero(a), count));
            count &= Width.Bits<T>() - 1;
            return Width.Narrow<T>((Width.Zero(a) << count) | (Width.Zero(a) >> (Width.Bits<T>() - count)));
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void SetFlags<T>(ref CpuState s, T a, T r, int count) where T : unmanaged =>
            SetRotate(ref s, Width.Zero(r), (Width.Zero(r) << 63) ^ Width.Sign(r));
    }

    private readonly struct Ror : IShift
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(ref CpuState s, T a, int count) where T : unmanaged
        {
            if (Unsafe.SizeOf<T>() == 8) return Width.Narrow<T>(ulong.RotateRight(Width.Zero(a), count));
            if (Unsafe.SizeOf<T>() == 4) return Width.Narrow<T>(uint.RotateRight((uint)Width.Zero(a), count));
            count &= Width.Bits<T>() - 1;
            return Width.Narrow<T>((Width.Zero(a) >> count) | (Width.Zero(a) << (Width.Bits<T>() - count)));
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void SetFlags<T>(ref CpuState s, T a, T r, int count) where T : unmanaged =>
            SetRotate(ref s, Width.Sign(r) >> 63, Width.Sign(r) ^ (Width.Zero(r) << (65 - Width.Bits<T>())));
    }

    private readonly struct Rcl : IShift
    {
        public static T Run<T>(ref CpuState s, T a, int count) where T : unmanaged
        {
            count = Turns<T>(count);
            if (count == 0) return a;
            var bits = Width.Bits<T>();
            var value = Width.Zero(a);
            // A shift by 64 wraps to none in C#, so the last part is shifted in two steps.
            return Width.Narrow<T>((value << (count - 1) << 1) | ((s.FlagsAux >> 63) << (count - 1)) | (value >> (bits - count) >> 1));
        }

        public static void SetFlags<T>(ref CpuState s, T a, T r, int count) where T : unmanaged
        {
            count = Turns<T>(count);
            var carry = count == 0 ? s.FlagsAux >> 63 : (Width.Zero(a) >> (Width.Bits<T>() - count)) & 1;
            SetRotate(ref s, carry, (carry << 63) ^ Width.Sign(r));
        }
    }

    private readonly struct Rcr : IShift
    {
        public static T Run<T>(ref CpuState s, T a, int count) where T : unmanaged
        {
            count = Turns<T>(count);
            if (count == 0) return a;
            var bits = Width.Bits<T>();
            var value = Width.Zero(a);
            return Width.Narrow<T>((value >> (count - 1) >> 1) | ((s.FlagsAux >> 63) << (bits - count)) | (value << (bits - count) << 1));
        }

        public static void SetFlags<T>(ref CpuState s, T a, T r, int count) where T : unmanaged
        {
            count = Turns<T>(count);
            var carry = count == 0 ? s.FlagsAux >> 63 : (Width.Zero(a) >> (count - 1)) & 1;
            SetRotate(ref s, carry, Width.Sign(r) ^ (Width.Zero(r) << (65 - Width.Bits<T>())));
        }
    }

    // Rotating through carry goes round after width + 1 steps.
    private static int Turns<T>(int count) where T : unmanaged => Unsafe.SizeOf<T>() switch { 1 => count % 9, 2 => count % 17, _ => count };

    /// <summary>All six flags: CF is bit 0 of one word, OF bit 63 of another.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetShift<T>(ref CpuState s, T r, ulong carry, ulong overflow) where T : unmanaged
    {
        var c = carry << 63;
        s.FlagsResult = Width.Sign(r);
        s.FlagsAux = c | (((overflow ^ c) >> 1) & OverflowBit);
    }

    /// <summary>CF and OF only.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetRotate(ref CpuState s, ulong carry, ulong overflow)
    {
        var c = carry << 63;
        s.FlagsAux = (s.FlagsAux & ~(CarryBit | OverflowBit)) | c | (((overflow ^ c) >> 1) & OverflowBit);
    }
}
