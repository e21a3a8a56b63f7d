using System.Buffers.Binary;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Interpret;

/// <summary>MOV and its relatives: extending moves, MOVBE, LEA, BSWAP, CMOVcc, SETcc, XLAT, and the sign extensions of the accumulator.</summary>
internal static partial class MoveOps
{
    private static ref Op RegReg<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        cpu.SetReg(op.A, cpu.Reg<T>(op.B));
        return ref cpu.Chain(ref op);
    }

    private static ref Op RegMem<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var value)) return ref cpu.Fault(ref op);
        cpu.SetReg(op.A, value);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op MemReg<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryStore(ref op, cpu.Reg<T>(op.A))) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op RegImm<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        cpu.SetReg(op.A, Width.Imm<T>(ref op));
        return ref cpu.Chain(ref op);
    }

    private static ref Op MemImm<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryStore(ref op, Width.Imm<T>(ref op))) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op ZeroReg<TFrom, T>(Vcpu cpu, ref Op op) where TFrom : unmanaged where T : unmanaged
    {
        cpu.SetReg(op.A, Width.Narrow<T>(Width.Zero(cpu.Reg<TFrom>(op.B))));
        return ref cpu.Chain(ref op);
    }

    private static ref Op ZeroMem<TFrom, T>(Vcpu cpu, ref Op op) where TFrom : unmanaged where T : unmanaged
    {
        if (!cpu.TryLoad<TFrom>(ref op, out var value)) return ref cpu.Fault(ref op);
        cpu.SetReg(op.A, Width.Narrow<T>(Width.Zero(value)));
        return ref Vcpu.Next(ref op);
    }

    private static ref Op SignReg<TFrom, T>(Vcpu cpu, ref Op op) where TFrom : unmanaged where T : unmanaged
    {
        cpu.SetReg(op.A, Width.Narrow<T>(Width.Sign(cpu.Reg<TFrom>(op.B))));
        return ref cpu.Chain(ref op);
    }

    private static ref Op SignMem<TFrom, T>(Vcpu cpu, ref Op op) where TFrom : unmanaged where T : unmanaged
    {
        if (!cpu.TryLoad<TFrom>(ref op, out var value)) return ref cpu.Fault(ref op);
        cpu.SetReg(op.A, Width.Narrow<T>(Width.Sign(value)));
        return ref Vcpu.Next(ref op);
    }

    private static ref Op SwappedLoad<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var value)) return ref cpu.Fault(ref op);
        cpu.SetReg(op.A, Reverse(value));
        return ref Vcpu.Next(ref op);
    }

    private static ref Op SwappedStore<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryStore(ref op, Reverse(cpu.Reg<T>(op.A)))) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op Swap32(Vcpu cpu, ref Op op)
    {
        cpu.SetReg(op.A, BinaryPrimitives.ReverseEndianness(cpu.Reg<uint>(op.A)));
        return ref cpu.Chain(ref op);
    }

    private static ref Op Swap64(Vcpu cpu, ref Op op)
    {
        cpu.SetReg(op.A, BinaryPrimitives.ReverseEndianness(cpu.Reg<ulong>(op.A)));
        return ref cpu.Chain(ref op);
    }

    // Undefined by the manuals; processors give zero.
    private static ref Op Swap16(Vcpu cpu, ref Op op)
    {
        cpu.SetReg<ushort>(op.A, 0);
        return ref cpu.Chain(ref op);
    }

    /// <summary>LEA whose address is at least as wide as its result: nothing is cut off in between.</summary>
    private static ref Op Lea<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        cpu.SetReg(op.A, Width.Narrow<T>(cpu.Offset(ref op)));
        return ref cpu.Chain(ref op);
    }

    /// <summary>LEA of base and displacement in 64 bits.</summary>
    private static ref Op LeaBase(Vcpu cpu, ref Op op)
    {
        cpu.Reg<ulong>(op.A) = cpu.Reg<ulong>(op.Base) + op.Disp;
        return ref cpu.Chain(ref op);
    }

    /// <summary>LEA with an address narrower than its result; Imm is the address size's mask.</summary>
    private static ref Op LeaNarrow<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        cpu.SetReg(op.A, Width.Narrow<T>(cpu.Offset(ref op) & op.Imm));
        return ref cpu.Chain(ref op);
    }

    private static ref Op MoveIfReg<TCondition, T>(Vcpu cpu, ref Op op) where TCondition : struct, ICondition where T : unmanaged
    {
        // A 32-bit register is zero-extended even when the condition is false.
        cpu.SetReg(op.A, cpu.Reg<T>(TCondition.Holds(ref cpu.S) ? op.B : op.A));
        return ref cpu.Chain(ref op);
    }

    private static ref Op MoveIfMem<TCondition, T>(Vcpu cpu, ref Op op) where TCondition : struct, ICondition where T : unmanaged
    {
        if (!cpu.TryLoad<T>(ref op, out var value)) return ref cpu.Fault(ref op);
        cpu.SetReg(op.A, TCondition.Holds(ref cpu.S) ? value : cpu.Reg<T>(op.A));
        return ref Vcpu.Next(ref op);
    }

    private static ref Op SetReg<TCondition>(Vcpu cpu, ref Op op) where TCondition : struct, ICondition
    {
        cpu.Reg<byte>(op.A) = TCondition.Holds(ref cpu.S) ? (byte)1 : (byte)0;
        return ref cpu.Chain(ref op);
    }

    private static ref Op SetMem<TCondition>(Vcpu cpu, ref Op op) where TCondition : struct, ICondition
    {
        if (!cpu.TryStore(ref op, TCondition.Holds(ref cpu.S) ? (byte)1 : (byte)0)) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op Translate(Vcpu cpu, ref Op op)
    {
        if (!cpu.TryLinear(ref op, 1, Access.Read, out var linear, cpu.Reg<byte>(0)) || !cpu.TryRead<byte>(linear, out var value)) return ref cpu.Fault(ref op);
        cpu.Reg<byte>(0) = value;
        return ref Vcpu.Next(ref op);
    }

    /// <summary>CBW, CWDE, CDQE.</summary>
    private static ref Op WidenAccumulator<TFrom, T>(Vcpu cpu, ref Op op) where TFrom : unmanaged where T : unmanaged
    {
        cpu.SetReg(0, Width.Narrow<T>(Width.Sign(cpu.Reg<TFrom>(0))));
        return ref cpu.Chain(ref op);
    }

    /// <summary>CWD, CDQ, CQO.</summary>
    private static ref Op SpreadSign<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        cpu.SetReg(16, Width.Narrow<T>((ulong)((long)Width.Sign(cpu.Reg<T>(0)) >> 63)));
        return ref cpu.Chain(ref op);
    }

    private static T Reverse<T>(T value) where T : unmanaged =>
        Width.Narrow<T>(BinaryPrimitives.ReverseEndianness(Width.Zero(value)) >> (64 - Width.Bits<T>()));
}
