using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>Chooses the specialised handler of an operation by encoding, width and operand kind.</summary>
internal static unsafe partial class VectorHandlers
{
    // SAFETY: function pointers to static methods; nothing is dereferenced in this file.

    /// <summary>Operations of one source.</summary>
    public static nint Unary<TOp>(in Instruction i) where TOp : struct, IUnary => Shape(i) switch
    {
        0 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&UnaryRegister<TOp, Legacy>,
        1 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&UnaryMemory<TOp, Legacy>,
        2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&UnaryRegister<TOp, Vex128>,
        3 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&UnaryMemory<TOp, Vex128>,
        4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&UnaryRegister<TOp, Vex256>,
        _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&UnaryMemory<TOp, Vex256>,
    };

    /// <summary>Operations of two sources.</summary>
    public static nint Binary<TOp>(in Instruction i, ref Op op) where TOp : struct, IBinary
    {
        Normalise(i, ref op);
        return Shape(i) switch
        {
            0 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&BinaryRegister<TOp, Legacy>,
            1 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&BinaryMemory<TOp, Legacy>,
            2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&BinaryRegister<TOp, Vex128>,
            3 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&BinaryMemory<TOp, Vex128>,
            4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&BinaryRegister<TOp, Vex256>,
            _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&BinaryMemory<TOp, Vex256>,
        };
    }

    /// <summary>Operations of three sources; the third is a register, of legacy SSE always XMM0.</summary>
    public static nint Ternary<TOp>(in Instruction i, ref Op op) where TOp : struct, ITernary
    {
        Normalise(i, ref op);
        if (!IsVex(i)) op.D = 0;
        else if (HasMemory(i)) op.D = op.C;
        return Shape(i) switch
        {
            0 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TernaryRegister<TOp, Legacy>,
            1 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TernaryMemory<TOp, Legacy>,
            2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TernaryRegister<TOp, Vex128>,
            3 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TernaryMemory<TOp, Vex128>,
            4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TernaryRegister<TOp, Vex256>,
            _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&TernaryMemory<TOp, Vex256>,
        };
    }

    /// <summary>Shifts by an immediate, a register or memory.</summary>
    public static nint Shift<TOp>(in Instruction i, ref Op op) where TOp : struct, IShift
    {
        Normalise(i, ref op);
        if (i.GetOpKind(i.OpCount - 1) == OpKind.Immediate8)
        {
            return Shape(i) switch
            {
                0 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ShiftImmediate<TOp, Legacy>,
                2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ShiftImmediate<TOp, Vex128>,
                _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ShiftImmediate<TOp, Vex256>,
            };
        }

        return Shape(i) switch
        {
            0 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ShiftRegister<TOp, Legacy>,
            1 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ShiftMemory<TOp, Legacy>,
            2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ShiftRegister<TOp, Vex128>,
            3 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ShiftMemory<TOp, Vex128>,
            4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ShiftRegister<TOp, Vex256>,
            _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ShiftMemory<TOp, Vex256>,
        };
    }

    /// <summary>Conversions from narrower elements.</summary>
    public static nint Extend<TOp>(in Instruction i) where TOp : struct, IExtend => Shape(i) switch
    {
        0 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ExtendRegister<TOp, Legacy>,
        1 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ExtendMemory<TOp, Legacy>,
        2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ExtendRegister<TOp, Vex128>,
        3 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ExtendMemory<TOp, Vex128>,
        4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ExtendRegister<TOp, Vex256>,
        _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&ExtendMemory<TOp, Vex256>,
    };

    /// <summary>Makes the first source explicit: legacy SSE's is the destination.</summary>
    public static void Normalise(in Instruction i, ref Op op)
    {
        if (!IsVex(i)) (op.B, op.C) = (op.A, op.B);
    }

    /// <summary>0, 2, 4 for legacy, VEX.128 and VEX.256; one more with a memory operand.</summary>
    public static int Shape(in Instruction i) => (IsVex(i) ? IsWide(i) ? 4 : 2 : 0) + (HasMemory(i) ? 1 : 0);

    /// <summary>Whether the encoding is VEX.</summary>
    public static bool IsVex(in Instruction i) => i.Encoding == EncodingKind.VEX;

    /// <summary>Whether an explicit operand is in memory.</summary>
    public static bool HasMemory(in Instruction i) =>
        i.Op0Kind == OpKind.Memory || i.Op1Kind == OpKind.Memory || i.Op2Kind == OpKind.Memory;

    /// <summary>Whether an operand is 256 bits wide.</summary>
    public static bool IsWide(in Instruction i)
    {
        for (var n = 0; n < i.OpCount; n++)
        {
            if (i.GetOpKind(n) == OpKind.Register ? i.GetOpRegister(n).IsYMM() : i.GetOpKind(n) == OpKind.Memory && i.MemorySize.GetSize() == 32) return true;
        }

        return false;
    }
}
