// Intel SDM vol. 2: the 64-bit forms of integer SIMD instructions, made of the 128-bit ones.
using System.Runtime.Intrinsics;

namespace Vmm.Backends.Software.Interpret;

/// <summary>An operation on 64 bits: destination, source and immediate.</summary>
internal interface IMmx
{
    static abstract ulong Run(ulong a, ulong b, int imm);
}

/// <summary>Ways to do a 128-bit operation on 64 bits.</summary>
internal static class MmxLanes
{
    private static Vector128<byte> Wide(ulong value) => Vector128.CreateScalar(value).AsByte();

    /// <summary>Lane by lane: the upper half does not matter.</summary>
    internal readonly struct Lanewise<TOp> : IMmx where TOp : struct, IBinary
    {
        public static ulong Run(ulong a, ulong b, int imm) => TOp.Run(Wide(a), Wide(b), imm).AsUInt64().ToScalar();
    }

    /// <summary>Operations that make the lower half of the result of the first source: both sources stand there.</summary>
    internal readonly struct Joined<TOp> : IMmx where TOp : struct, IBinary
    {
        public static ulong Run(ulong a, ulong b, int imm)
        {
            var both = Vector128.Create(a, b).AsByte();
            return TOp.Run(both, both, imm).AsUInt64().ToScalar();
        }
    }

    /// <summary>PUNPCKHBW and its kin: the upper half of what the low form makes of eight bytes.</summary>
    internal readonly struct UpperHalf<TOp> : IMmx where TOp : struct, IBinary
    {
        public static ulong Run(ulong a, ulong b, int imm) => TOp.Run(Wide(a), Wide(b), imm).AsUInt64().GetElement(1);
    }

    /// <summary>Shifts by a count.</summary>
    internal readonly struct Shifted<TOp> : IMmx where TOp : struct, IShift
    {
        public static ulong Run(ulong a, ulong b, int imm) => TOp.Run(Wide(a), b).AsUInt64().ToScalar();
    }

    /// <summary>Operations of the source alone.</summary>
    internal readonly struct OfSource<TOp> : IMmx where TOp : struct, IUnary
    {
        public static ulong Run(ulong a, ulong b, int imm) => TOp.Run(Wide(b), imm).AsUInt64().ToScalar();
    }

    /// <summary>PSHUFB: three bits of each index count instead of four.</summary>
    internal readonly struct ShuffleBytes : IMmx
    {
        public static ulong Run(ulong a, ulong b, int imm) =>
            VectorShuffleLanes.ShuffleBytes.Run(Wide(a), Wide(b & 0x8787_8787_8787_8787), 0).AsUInt64().ToScalar();
    }

    /// <summary>PALIGNR.</summary>
    internal readonly struct AlignRight : IMmx
    {
        public static ulong Run(ulong a, ulong b, int imm) => (imm & 0xFF) >= 16 ? 0 : (ulong)(new UInt128(a, b) >> ((imm & 0xFF) * 8));
    }
}
