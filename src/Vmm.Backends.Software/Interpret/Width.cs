using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>Conversions between 64 bits and the operand type of a generic handler; all vanish into single instructions.</summary>
internal static class Width
{
    /// <summary>The low part of 64 bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Narrow<T>(ulong value) where T : unmanaged
    {
        if (typeof(T) == typeof(byte)) return Unsafe.BitCast<byte, T>((byte)value);
        if (typeof(T) == typeof(ushort)) return Unsafe.BitCast<ushort, T>((ushort)value);
        if (typeof(T) == typeof(uint)) return Unsafe.BitCast<uint, T>((uint)value);
        return Unsafe.BitCast<ulong, T>(value);
    }

    /// <summary>Zero-extended to 64 bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Zero<T>(T value) where T : unmanaged
    {
        if (typeof(T) == typeof(byte)) return Unsafe.BitCast<T, byte>(value);
        if (typeof(T) == typeof(ushort)) return Unsafe.BitCast<T, ushort>(value);
        if (typeof(T) == typeof(uint)) return Unsafe.BitCast<T, uint>(value);
        return Unsafe.BitCast<T, ulong>(value);
    }

    /// <summary>Sign-extended to 64 bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Sign<T>(T value) where T : unmanaged
    {
        if (typeof(T) == typeof(byte)) return (ulong)(sbyte)Unsafe.BitCast<T, byte>(value);
        if (typeof(T) == typeof(ushort)) return (ulong)(short)Unsafe.BitCast<T, ushort>(value);
        if (typeof(T) == typeof(uint)) return (ulong)(int)Unsafe.BitCast<T, uint>(value);
        return Unsafe.BitCast<T, ulong>(value);
    }

    /// <summary>8, 16, 32 or 64.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Bits<T>() where T : unmanaged => Unsafe.SizeOf<T>() * 8;

    /// <summary>The immediate. The host is little-endian, so the low part is at the front.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Imm<T>(ref Op op) where T : unmanaged => Unsafe.As<ulong, T>(ref op.Imm);

    /// <summary>The sign bit.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsNegative<T>(T value) where T : unmanaged => (long)Sign(value) < 0;
}
