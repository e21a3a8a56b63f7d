// Intel SDM vol. 2: HADDPS, HADDPD, HSUBPS, HSUBPD, ADDSUBPS, ADDSUBPD.
using System.Runtime.Intrinsics;
using Vmm.Backends.Software.FloatingPoint;
using static Vmm.Backends.Software.Interpret.VectorFloatOps;

namespace Vmm.Backends.Software.Interpret;

/// <summary>A floating-point operation in which lanes meet, on 128 bits.</summary>
internal interface IFloatGroup
{
    static abstract Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm, uint mxcsr, ref uint raised);
}

/// <summary>Horizontal and alternating additions.</summary>
internal static class FloatGroups
{
    /// <summary>HADDPS, HSUBPS.</summary>
    internal readonly struct PairSingles<TOp> : IFloatGroup where TOp : struct, IFloatBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm, uint mxcsr, ref uint raised)
        {
            var (x, y) = (a.AsUInt64(), b.AsUInt64());
            return Packed<TOp, float>(Vector128.Narrow(x, y).AsByte(), Vector128.Narrow(x >>> 32, y >>> 32).AsByte(), 0, mxcsr, ref raised);
        }
    }

    /// <summary>HADDPD, HSUBPD.</summary>
    internal readonly struct PairDoubles<TOp> : IFloatGroup where TOp : struct, IFloatBinary
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm, uint mxcsr, ref uint raised) =>
            Packed<TOp, double>(Vector128.Create(a.GetLower(), b.GetLower()), Vector128.Create(a.GetUpper(), b.GetUpper()), 0, mxcsr, ref raised);
    }

    /// <summary>ADDSUBPS, ADDSUBPD: even lanes subtract.</summary>
    internal readonly struct Alternating<T> : IFloatGroup where T : unmanaged
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm, uint mxcsr, ref uint raised)
        {
            var signs = typeof(T) == typeof(float) ? Vector128.Create(0x8000_0000UL).AsByte() : Vector128.Create(0x8000_0000_0000_0000UL, 0).AsByte();
            if (SseFast.TryAdd(a.As<byte, T>(), (b ^ signs).As<byte, T>(), false, out var fast) && SseFast.IsEligible(mxcsr)) return fast.AsByte();
            var result = default(Vector128<byte>);
            for (var i = 0; i < Vector128<T>.Count; i++)
            {
                var (x, y) = (Lane<T>(a, i), Lane<T>(b, i));
                var lane = (i & 1) == 0 ? Exact<FloatLanes.SubFloat, T>(x, y, 0, mxcsr, ref raised) : Exact<FloatLanes.AddFloat, T>(x, y, 0, mxcsr, ref raised);
                result = WithLane<T>(result, i, lane);
            }

            return result;
        }
    }
}
