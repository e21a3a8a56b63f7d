// Intel SDM vol. 1, 4.9 (floating-point exceptions), 8.1.3 (x87 status word), 10.2.3 (MXCSR).
namespace Vmm.Backends.Software.FloatingPoint;

/// <summary>
/// Bits that arithmetic reports. The six exceptions have the same places in the x87 status word, in MXCSR, and (as masks) in
/// the x87 control word; the condition codes are at their places in the x87 status word.
/// </summary>
internal static class FpFlags
{
    /// <summary>IE, invalid operation.</summary>
    public const uint Invalid = 0x01;

    /// <summary>DE, denormal operand.</summary>
    public const uint Denormal = 0x02;

    /// <summary>ZE, division by zero.</summary>
    public const uint ZeroDivide = 0x04;

    /// <summary>OE, overflow.</summary>
    public const uint Overflow = 0x08;

    /// <summary>UE, underflow.</summary>
    public const uint Underflow = 0x10;

    /// <summary>PE, inexact result.</summary>
    public const uint Precision = 0x20;

    /// <summary>SF, x87 stack fault (comes with <see cref="Invalid"/>).</summary>
    public const uint StackFault = 0x40;

    /// <summary>All six exceptions.</summary>
    public const uint AllExceptions = 0x3F;

    /// <summary>Those found before computing: if one of these is unmasked there is no result.</summary>
    public const uint PreComputation = Invalid | Denormal | ZeroDivide;

    /// <summary>Condition code C0 of the x87 status word.</summary>
    public const uint C0 = 0x100;

    /// <summary>Condition code C1: rounded away from zero, or stack overflow.</summary>
    public const uint C1 = 0x200;

    /// <summary>Condition code C2.</summary>
    public const uint C2 = 0x400;

    /// <summary>Condition code C3.</summary>
    public const uint C3 = 0x4000;
}
