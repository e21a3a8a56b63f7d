using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>ADD, OR, ADC, SBB, AND, SUB, XOR, CMP, TEST, INC, DEC, NEG and NOT.</summary>
internal static partial class AluOps
{
    private static ref Op RegReg<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IBinary where T : unmanaged
    {
        ref var s = ref cpu.S;
        var a = cpu.Reg<T>(op.A);
        var b = cpu.Reg<T>(op.B);
        var r = TOp.Run(ref s, a, b);
        if (TOp.Writes) cpu.SetReg(op.A, r);
        TOp.SetFlags(ref s, a, b, r);
        return ref cpu.Chain(ref op);
    }

    private static ref Op RegImm<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IBinary where T : unmanaged
    {
        ref var s = ref cpu.S;
        var a = cpu.Reg<T>(op.A);
        var b = Width.Imm<T>(ref op);
        var r = TOp.Run(ref s, a, b);
        if (TOp.Writes) cpu.SetReg(op.A, r);
        TOp.SetFlags(ref s, a, b, r);
        return ref cpu.Chain(ref op);
    }

    private static ref Op RegMem<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IBinary where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var b)) return ref cpu.Fault(ref op);
        ref var s = ref cpu.S;
        var a = cpu.Reg<T>(op.A);
        var r = TOp.Run(ref s, a, b);
        if (TOp.Writes) cpu.SetReg(op.A, r);
        TOp.SetFlags(ref s, a, b, r);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op MemReg<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IBinary where T : unmanaged =>
        ref Memory<TOp, T>(cpu, ref op, cpu.Reg<T>(op.A));

    private static ref Op MemImm<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IBinary where T : unmanaged =>
        ref Memory<TOp, T>(cpu, ref op, Width.Imm<T>(ref op));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op Memory<TOp, T>(Vcpu cpu, ref Op op, T b) where TOp : struct, IBinary where T : unmanaged
    {
        ref var s = ref cpu.S;
        T a, r;
        if (TOp.Writes)
        {
            Cell cell;
            do
            {
                if (!cpu.TryBeginUpdate(ref op, out a, out cell)) return ref cpu.Fault(ref op);
                r = TOp.Run(ref s, a, b);
            }
            while (!cpu.EndUpdate(ref op, cell, a, r));
        }
        else
        {
            if (!cpu.TryLoad(ref op, out a)) return ref cpu.Fault(ref op);
            r = TOp.Run(ref s, a, b);
        }

        TOp.SetFlags(ref s, a, b, r);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>XOR or SUB of a register with itself: the way registers are cleared.</summary>
    private static ref Op Clear(Vcpu cpu, ref Op op)
    {
        ref var s = ref cpu.S;
        cpu.Reg<ulong>(op.A) = 0;
        s.FlagsResult = 0;
        s.FlagsAux = 0;
        return ref cpu.Chain(ref op);
    }

    /// <summary>TEST of a register with itself.</summary>
    private static ref Op TestSelf<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        cpu.S.SetLogic(cpu.Reg<T>(op.A));
        return ref cpu.Chain(ref op);
    }

    private static ref Op Reg<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IUnary where T : unmanaged
    {
        var a = cpu.Reg<T>(op.A);
        var r = TOp.Run(a);
        cpu.SetReg(op.A, r);
        TOp.SetFlags(ref cpu.S, a, r);
        return ref cpu.Chain(ref op);
    }

    private static ref Op Mem<TOp, T>(Vcpu cpu, ref Op op) where TOp : struct, IUnary where T : unmanaged
    {
        T a, r;
        Cell cell;
        do
        {
            if (!cpu.TryBeginUpdate(ref op, out a, out cell)) return ref cpu.Fault(ref op);
            r = TOp.Run(a);
        }
        while (!cpu.EndUpdate(ref op, cell, a, r));
        TOp.SetFlags(ref cpu.S, a, r);
        return ref Vcpu.Next(ref op);
    }
}
