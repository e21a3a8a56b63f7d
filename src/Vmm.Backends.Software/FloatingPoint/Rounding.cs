// Intel SDM vol. 1, 4.8.4 (rounding).
namespace Vmm.Backends.Software.FloatingPoint;

/// <summary>The rounding modes, numbered as in the RC fields of MXCSR and of the x87 control word.</summary>
internal enum Rounding
{
    /// <summary>To nearest, ties to even.</summary>
    Nearest = 0,

    /// <summary>Towards minus infinity.</summary>
    Down = 1,

    /// <summary>Towards plus infinity.</summary>
    Up = 2,

    /// <summary>Towards zero.</summary>
    Truncate = 3,
}
