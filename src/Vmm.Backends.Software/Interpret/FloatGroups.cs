// Intel SDM vol. 2: HADDPS, HADDPD, HSUBPS, HSUBPD, ADDSUBPS, ADDSUBPD, DPPS, DPPD.
using System.Runtime.Intrinsics;
using Vmm.Backends.Software.FloatingPoint;
using static Vmm.Backends.Software.Interpret.VectorFloatOps;

namespace Vmm.Backends.Software.Interpret;

/// <summary>A floating-point operation in which lanes meet, on 128 bits.</summary>
internal interface IFloatGroup
{
    static abstract Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm, uint mxcsr, ref uint raised);
}

/// <summary>Horizontal, alternating and dot products.</summary>
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

    /// <summary>DPPS, DPPD: bits 7:4 of the immediate choose products, bits 3:0 the lanes that get the sum.</summary>
    internal readonly struct DotProduct<T> : IFloatGroup where T : unmanaged
    {
        public static Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm, uint mxcsr, ref uint raised)
        {
            Span<ulong> terms = stackalloc ulong[Vector128<T>.Count];
            for (var i = 0; i < terms.Length; i++)
            {
                terms[i] = (imm >> (4 + i) & 1) != 0 ? Exact<FloatLanes.MulFloat, T>(Lane<T>(a, i), Lane<T>(b, i), 0, mxcsr, ref raised) : 0;
            }

            // An unmasked exception of the products keeps the sums from being computed.
            if ((raised & ~Mxcsr.MasksOf(mxcsr)) != 0) return default;
            var sum = Exact<FloatLanes.AddFloat, T>(terms[0], terms[1], 0, mxcsr, ref raised);
            if (terms.Length == 4)
            {
                var second = Exact<FloatLanes.AddFloat, T>(terms[2], terms[3], 0, mxcsr, ref raised);
                if ((raised & ~Mxcsr.MasksOf(mxcsr)) != 0) return default;
                sum = Exact<FloatLanes.AddFloat, T>(sum, second, 0, mxcsr, ref raised);
            }

            var result = default(Vector128<byte>);
            for (var i = 0; i < terms.Length; i++)
            {
                if ((imm >> i & 1) != 0) result = WithLane<T>(result, i, sum);
            }

            return result;
        }
    }
}
