// Intel SDM vol. 1, chapters 10 to 14; vol. 2A, 2.4 (alignment and exception classes of vector instructions).
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Interpret;

/// <summary>How an instruction is encoded: legacy SSE, VEX.128 or VEX.256. Constant once a handler is specialised.</summary>
internal interface IForm
{
    /// <summary>Whether the upper half of YMM is kept and memory operands of 16 bytes must be aligned.</summary>
    static abstract bool IsLegacy { get; }

    /// <summary>Whether both halves of YMM are worked on.</summary>
    static abstract bool IsWide { get; }
}

/// <summary>Legacy SSE: destructive, the upper half of YMM stays.</summary>
internal readonly struct Legacy : IForm
{
    public static bool IsLegacy => true;
    public static bool IsWide => false;
}

/// <summary>VEX.128: the upper half of YMM becomes zero.</summary>
internal readonly struct Vex128 : IForm
{
    public static bool IsLegacy => false;
    public static bool IsWide => false;
}

/// <summary>VEX.256.</summary>
internal readonly struct Vex256 : IForm
{
    public static bool IsLegacy => false;
    public static bool IsWide => true;
}

/// <summary>An operation of one source on 128 bits; 256-bit forms do both halves alike.</summary>
internal interface IUnary
{
    static abstract Vector128<byte> Run(Vector128<byte> a, int imm);

    /// <summary>The immediate that the upper half works with.</summary>
    static virtual int HighImmediate(int imm) => imm;
}

/// <summary>An operation of two sources on 128 bits; 256-bit forms do both halves alike.</summary>
internal interface IBinary
{
    static abstract Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, int imm);

    /// <summary>The immediate that the upper half works with.</summary>
    static virtual int HighImmediate(int imm) => imm;
}

/// <summary>An operation of three sources on 128 bits; 256-bit forms do both halves alike.</summary>
internal interface ITernary
{
    static abstract Vector128<byte> Run(Vector128<byte> a, Vector128<byte> b, Vector128<byte> c);
}

/// <summary>A shift of all elements by one count.</summary>
internal interface IShift
{
    static abstract Vector128<byte> Run(Vector128<byte> a, ulong count);
}

/// <summary>A conversion from the low bytes of the source to 128 bits; 256-bit forms make the upper half of the bytes that follow.</summary>
internal interface IExtend
{
    /// <summary>Source bytes of 128 bits of result: 2, 4 or 8.</summary>
    static abstract int Bytes { get; }

    static abstract Vector128<byte> Run(ulong source);
}

/// <summary>Operands of vector instructions: registers by form, and memory with the alignment that the form asks for.</summary>
internal static class VectorOperands
{
    /// <summary>Loads the memory operand of a form: 16 aligned bytes, 16 bytes or 32.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryLoadFull<TForm>(this Vcpu cpu, ref Op op, out Vector128<byte> low, out Vector128<byte> high) where TForm : struct, IForm
    {
        if (TForm.IsWide)
        {
            var ok = cpu.TryLoad<Vector256<byte>>(ref op, out var both);
            (low, high) = (both.GetLower(), both.GetUpper());
            return ok;
        }

        high = default;
        if (TForm.IsLegacy && !cpu.IsAligned(ref op, 16, Access.Read))
        {
            low = default;
            return false;
        }

        return cpu.TryLoad(ref op, out low);
    }

    /// <summary>Writes the result of a form.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetVector<TForm>(this Vcpu cpu, byte register, Vector128<byte> low, Vector128<byte> high) where TForm : struct, IForm
    {
        if (TForm.IsWide) cpu.Ymm<byte>(register) = Vector256.Create(low, high);
        else if (TForm.IsLegacy) cpu.Xmm<byte>(register) = low;
        else cpu.Ymm<byte>(register) = low.ToVector256();
    }

    /// <summary>Checks the alignment of the memory operand; records #GP(0) otherwise.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsAligned(this Vcpu cpu, ref Op op, uint bytes, Access access) =>
        op.Address == AddressKind.Flat64 ? (cpu.Offset(ref op) & (bytes - 1)) == 0 || Misaligned(cpu) : IsAlignedSlow(cpu, ref op, bytes, access);

    /// <summary>Whether a #XM is to be #UD instead, and the fault of an unmasked exception.</summary>
    public static ref Op FloatFault(this Vcpu cpu, ref Op op) =>
        ref cpu.Fault(ref op, (cpu.S.Cr4 & ControlBits.Cr4OsXmmExcpt) != 0 ? Vector.XM : Vector.UD);

    private static bool IsAlignedSlow(Vcpu cpu, ref Op op, uint bytes, Access access) =>
        cpu.TryLinear(ref op, (int)bytes, access, out var linear) && ((linear & (bytes - 1)) == 0 || Misaligned(cpu));

    private static bool Misaligned(Vcpu cpu) => cpu.Raise(Vector.GP, 0);
}
