using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;

namespace Vmm.Backends.Software.Interpret;

/// <summary>One of the sixteen conditions, as a type, so that each gets code of its own.</summary>
internal interface ICondition
{
    static abstract bool Holds(ref CpuState s);
}

/// <summary>The sixteen conditions of SETcc and CMOVcc (Intel SDM vol. 1, appendix B).</summary>
internal static class Condition
{
    internal readonly struct O : ICondition
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Holds(ref CpuState s) => s.OF;
    }

    internal readonly struct NO : ICondition
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Holds(ref CpuState s) => !s.OF;
    }

    internal readonly struct B : ICondition
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Holds(ref CpuState s) => s.CF;
    }

    internal readonly struct AE : ICondition
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Holds(ref CpuState s) => !s.CF;
    }

    internal readonly struct E : ICondition
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Holds(ref CpuState s) => s.ZF;
    }

    internal readonly struct NE : ICondition
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Holds(ref CpuState s) => !s.ZF;
    }

    internal readonly struct BE : ICondition
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Holds(ref CpuState s) => s.CF | s.ZF;
    }

    internal readonly struct A : ICondition
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Holds(ref CpuState s) => !(s.CF | s.ZF);
    }

    internal readonly struct S : ICondition
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Holds(ref CpuState s) => s.SF;
    }

    internal readonly struct NS : ICondition
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Holds(ref CpuState s) => !s.SF;
    }

    internal readonly struct P : ICondition
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Holds(ref CpuState s) => s.PF;
    }

    internal readonly struct NP : ICondition
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Holds(ref CpuState s) => !s.PF;
    }

    internal readonly struct L : ICondition
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Holds(ref CpuState s) => s.SF != s.OF;
    }

    internal readonly struct GE : ICondition
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Holds(ref CpuState s) => s.SF == s.OF;
    }

    internal readonly struct LE : ICondition
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Holds(ref CpuState s) => s.ZF | (s.SF != s.OF);
    }

    internal readonly struct G : ICondition
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Holds(ref CpuState s) => !(s.ZF | (s.SF != s.OF));
    }
}
