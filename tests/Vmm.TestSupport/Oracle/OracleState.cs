using System.Runtime.InteropServices;

namespace Vmm.TestSupport.Oracle;

/// <summary>
/// The user-mode architectural state before or after a run: general registers, RIP, RFLAGS, x87, MMX, SSE and AVX state,
/// and the fault if the run ended with one. The layout is read by the machine code of <see cref="NativeOracle"/>.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = Size)]
public struct OracleState
{
    /// <summary>Bytes of the struct; a multiple of 64, which XSAVE needs.</summary>
    public const int Size = 1024;

    internal const int RipOffset = 128, RflagsOffset = 136, FpuOffset = 192;

    /// <summary>General registers.</summary>
    [FieldOffset(0)] public GprFile Gpr;

    /// <summary>Instruction pointer; the input value must lie in the oracle's code area.</summary>
    [FieldOffset(RipOffset)] public ulong Rip;

    /// <summary>RFLAGS; RF is cleared in results.</summary>
    [FieldOffset(RflagsOffset)] public ulong Rflags;

    /// <summary>The fault (results only).</summary>
    [FieldOffset(144)] public OracleFault Fault;

    /// <summary>x87, MMX, SSE and AVX state.</summary>
    [FieldOffset(FpuOffset)] public XsaveImage Fpu;

    /// <summary>All general registers zero, RFLAGS = 2, floating point at power-on.</summary>
    public static OracleState PowerOn => new() { Rflags = 2, Fpu = XsaveImage.PowerOn };
}
