using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;

namespace Vmm.Backends.Software.Interpret;

internal static partial class AluOps
{
    /// <summary>What a two-operand instruction computes. Flags come after the result is stored, as the store may fault.</summary>
    private interface IBinary
    {
        /// <summary>False for CMP and TEST.</summary>
        static abstract bool Writes { get; }

        static abstract T Run<T>(ref CpuState s, T a, T b) where T : unmanaged;

        static abstract void SetFlags<T>(ref CpuState s, T a, T b, T r) where T : unmanaged;
    }

    /// <summary>What a one-operand instruction computes.</summary>
    private interface IUnary
    {
        static abstract T Run<T>(T a) where T : unmanaged;

        static abstract void SetFlags<T>(ref CpuState s, T a, T r) where T : unmanaged;
    }

    private readonly struct Add : IBinary
    {
        public static bool Writes => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged => Width.Add(a, b);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void SetFlags<T>(ref CpuState s, T a, T b, T r) where T : unmanaged => s.SetAdd(a, b, r);
    }

    private readonly struct Adc : IBinary
    {
        public static bool Writes => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged => Width.Narrow<T>(Width.Zero(a) + Width.Zero(b) + (s.FlagsAux >> 63));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void SetFlags<T>(ref CpuState s, T a, T b, T r) where T : unmanaged => s.SetAdd(a, b, r);
    }

    private readonly struct Sub : IBinary
    {
        public static bool Writes => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged => Width.Sub(a, b);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void SetFlags<T>(ref CpuState s, T a, T b, T r) where T : unmanaged => s.SetSub(a, b, r);
    }

    private readonly struct Sbb : IBinary
    {
        public static bool Writes => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged => Width.Narrow<T>(Width.Zero(a) - Width.Zero(b) - (s.FlagsAux >> 63));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void SetFlags<T>(ref CpuState s, T a, T b, T r) where T : unmanaged => s.SetSub(a, b, r);
    }

    private readonly struct And : IBinary
    {
        public static bool Writes => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged => Width.Narrow<T>(Width.Zero(a) & Width.Zero(b));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void SetFlags<T>(ref CpuState s, T a, T b, T r) where T : unmanaged => s.SetLogic(r);
    }

    private readonly struct Or : IBinary
    {
        public static bool Writes => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged => Width.Narrow<T>(Width.Zero(a) | Width.Zero(b));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void SetFlags<T>(ref CpuState s, T a, T b, T r) where T : unmanaged => s.SetLogic(r);
    }

    private readonly struct Xor : IBinary
    {
        public static bool Writes => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged => Width.Narrow<T>(Width.Zero(a) ^ Width.Zero(b));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void SetFlags<T>(ref CpuState s, T a, T b, T r) where T : unmanaged => s.SetLogic(r);
    }

    private readonly struct Cmp : IBinary
    {
        public static bool Writes => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged => Width.Sub(a, b);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void SetFlags<T>(ref CpuState s, T a, T b, T r) where T : unmanaged => s.SetSub(a, b, r);
    }

    private readonly struct Test : IBinary
    {
        public static bool Writes => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(ref CpuState s, T a, T b) where T : unmanaged => Width.Narrow<T>(Width.Zero(a) & Width.Zero(b));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void SetFlags<T>(ref CpuState s, T a, T b, T r) where T : unmanaged => s.SetLogic(r);
    }

    private readonly struct Inc : IUnary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(T a) where T : unmanaged => Width.Narrow<T>(Width.Zero(a) + 1);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void SetFlags<T>(ref CpuState s, T a, T r) where T : unmanaged => s.SetInc(a, r);
    }

    private readonly struct Dec : IUnary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(T a) where T : unmanaged => Width.Narrow<T>(Width.Zero(a) - 1);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void SetFlags<T>(ref CpuState s, T a, T r) where T : unmanaged => s.SetDec(a, r);
    }

    private readonly struct Neg : IUnary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(T a) where T : unmanaged => Width.Narrow<T>(0 - Width.Zero(a));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void SetFlags<T>(ref CpuState s, T a, T r) where T : unmanaged => s.SetSub(default, a, r);
    }

    private readonly struct Not : IUnary
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static T Run<T>(T a) where T : unmanaged => Width.Narrow<T>(~Width.Zero(a));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void SetFlags<T>(ref CpuState s, T a, T r) where T : unmanaged
        {
        }
    }
}
