using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>The operand type of a generic handler and 64 bits: all vanish into single instructions. Handlers compute in 64 bits.</summary>
internal static class Width
{
    /// <summary>The low part of 64 bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Narrow<T>(ulong value) where T : unmanaged
    {
        if (Unsafe.SizeOf<T>() == 1) return Unsafe.BitCast<Word8, T>(new((byte)value));
        if (Unsafe.SizeOf<T>() == 2) return Unsafe.BitCast<Word16, T>(new((ushort)value));
        if (Unsafe.SizeOf<T>() == 4) return Unsafe.BitCast<Word32, T>(new((uint)value));
        return Unsafe.BitCast<Word64, T>(new(value));
    }

    /// <summary>Zero-extended to 64 bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Zero<T>(T value) where T : unmanaged
    {
        if (Unsafe.SizeOf<T>() == 1) return Unsafe.BitCast<T, Word8>(value).Value;
        if (Unsafe.SizeOf<T>() == 2) return Unsafe.BitCast<T, Word16>(value).Value;
        if (Unsafe.SizeOf<T>() == 4) return Unsafe.BitCast<T, Word32>(value).Value;
        return Unsafe.BitCast<T, Word64>(value).Value;
    }

    /// <summary>Sign-extended to 64 bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Sign<T>(T value) where T : unmanaged
    {
        if (Unsafe.SizeOf<T>() == 1) return (ulong)(sbyte)Unsafe.BitCast<T, Word8>(value).Value;
        if (Unsafe.SizeOf<T>() == 2) return (ulong)(short)Unsafe.BitCast<T, Word16>(value).Value;
        if (Unsafe.SizeOf<T>() == 4) return (ulong)(int)Unsafe.BitCast<T, Word32>(value).Value;
        return Unsafe.BitCast<T, Word64>(value).Value;
    }

    /// <summary>8, 16, 32 or 64.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Bits<T>() where T : unmanaged => Unsafe.SizeOf<T>() * 8;

    /// <summary>The immediate. The host is little-endian, so the low part is at the front.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Imm<T>(ref Op op) where T : unmanaged => Unsafe.As<ulong, T>(ref op.Imm);

    /// <summary>The sum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Add<T>(T a, T b) where T : unmanaged => Narrow<T>(Zero(a) + Zero(b));

    /// <summary>The difference.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Sub<T>(T a, T b) where T : unmanaged => Narrow<T>(Zero(a) - Zero(b));

    /// <summary>Whether both are the same.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Same<T>(T a, T b) where T : unmanaged => Zero(a) == Zero(b);
}
