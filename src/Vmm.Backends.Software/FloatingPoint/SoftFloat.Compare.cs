// Intel SDM vol. 2: CMPPD (the 32 predicates), COMISD, UCOMISD.
namespace Vmm.Backends.Software.FloatingPoint;

internal static partial class SoftFloat<TFormat>
{
    /// <summary>CMPPS, VCMPSD and so on.</summary>
    /// <param name="a">The first source.</param>
    /// <param name="b">The second source.</param>
    /// <param name="predicate">0 to 31; the SSE forms use 0 to 7.</param>
    /// <param name="mxcsr">MXCSR.</param>
    /// <param name="raised">The accumulator.</param>
    /// <returns>Whether the predicate holds (all ones for the element).</returns>
    public static bool Compare(ulong a, ulong b, int predicate, uint mxcsr, ref uint raised)
    {
        // Predicates 1, 2, 5, 6, 9, 10, 13, 14 signal for quiet NaNs, the others do not; 16 to 31 are the same turned round.
        var signals = ((predicate & 3) is 1 or 2) != (predicate >= 16);
        var relation = Relate(a, b, signals, mxcsr, ref raised);
        return (predicate & 15) switch
        {
            0 => relation == Relation.Equal,
            1 => relation == Relation.Less,
            2 => relation is Relation.Less or Relation.Equal,
            3 => relation == Relation.Unordered,
            4 => relation != Relation.Equal,
            5 => relation != Relation.Less,
            6 => relation is not (Relation.Less or Relation.Equal),
            7 => relation != Relation.Unordered,
            8 => relation is Relation.Equal or Relation.Unordered,
            9 => relation is Relation.Less or Relation.Unordered,
            10 => relation != Relation.Greater,
            11 => false,
            12 => relation is Relation.Less or Relation.Greater,
            13 => relation is Relation.Greater or Relation.Equal,
            14 => relation == Relation.Greater,
            _ => true,
        };
    }

    /// <summary>COMISS, COMISD (signaling) and UCOMISS, UCOMISD (quiet).</summary>
    /// <returns>ZF (bit 6), PF (bit 2) and CF (bit 0) at their places in EFLAGS.</returns>
    public static uint CompareFlags(ulong a, ulong b, bool signaling, uint mxcsr, ref uint raised) =>
        Relate(a, b, signaling, mxcsr, ref raised) switch
        {
            Relation.Unordered => 0x45,
            Relation.Equal => 0x40,
            Relation.Less => 0x01,
            _ => 0,
        };

    private static Relation Relate(ulong a, ulong b, bool signaling, uint mxcsr, ref uint raised)
    {
        var x = Operand(a, mxcsr);
        var y = Operand(b, mxcsr);
        if (x.IsNaN || y.IsNaN)
        {
            if (signaling || x.Kind == FpClass.SignalingNaN || y.Kind == FpClass.SignalingNaN)
            {
                raised |= FpFlags.Invalid;
            }
            return Relation.Unordered;
        }
        raised |= x.Denormal || y.Denormal ? FpFlags.Denormal : 0;
        return (Relation)Math.Sign(X87Math.Order(x, y));
    }

    private enum Relation
    {
        Less = -1,
        Equal = 0,
        Greater = 1,
        Unordered = 2,
    }
}
