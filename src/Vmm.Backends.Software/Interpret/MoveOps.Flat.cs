using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>The commonest memory forms for plain 64-bit addresses that are in the TLB; see the arithmetic group's like.</summary>
internal static partial class MoveOps
{
    private static ref Op RegFlat<T, TAddress>(Vcpu cpu, ref Op op) where TAddress : struct, IAddress where T : unmanaged
    {
        var linear = TAddress.Linear(cpu, ref op);
        ref var entry = ref cpu.ReadEntry(linear);
        if (!Vcpu.Covers<T>(ref entry, linear)) return ref RegMem<T>(cpu, ref op);
        cpu.SetReg(op.A, Vcpu.At<T>(ref entry, linear));
        return ref cpu.Chain(ref op);
    }

    private static ref Op FlatReg<T, TAddress>(Vcpu cpu, ref Op op) where TAddress : struct, IAddress where T : unmanaged
    {
        var linear = TAddress.Linear(cpu, ref op);
        ref var entry = ref cpu.WriteEntry(linear);
        if (!Vcpu.Covers<T>(ref entry, linear)) return ref MemReg<T>(cpu, ref op);
        Vcpu.Put(ref entry, linear, cpu.Reg<T>(op.A));
        return ref cpu.Chain(ref op);
    }

    private static ref Op FlatImm<T, TAddress>(Vcpu cpu, ref Op op) where TAddress : struct, IAddress where T : unmanaged
    {
        var linear = TAddress.Linear(cpu, ref op);
        ref var entry = ref cpu.WriteEntry(linear);
        if (!Vcpu.Covers<T>(ref entry, linear)) return ref MemImm<T>(cpu, ref op);
        Vcpu.Put(ref entry, linear, Width.Imm<T>(ref op));
        return ref cpu.Chain(ref op);
    }

    private static ref Op ZeroFlat<TFrom, T, TAddress>(Vcpu cpu, ref Op op) where TAddress : struct, IAddress where TFrom : unmanaged where T : unmanaged
    {
        var linear = TAddress.Linear(cpu, ref op);
        ref var entry = ref cpu.ReadEntry(linear);
        if (!Vcpu.Covers<TFrom>(ref entry, linear)) return ref ZeroMem<TFrom, T>(cpu, ref op);
        cpu.SetReg(op.A, Width.Narrow<T>(Width.Zero(Vcpu.At<TFrom>(ref entry, linear))));
        return ref cpu.Chain(ref op);
    }

    private static ref Op SignFlat<TFrom, T, TAddress>(Vcpu cpu, ref Op op) where TAddress : struct, IAddress where TFrom : unmanaged where T : unmanaged
    {
        var linear = TAddress.Linear(cpu, ref op);
        ref var entry = ref cpu.ReadEntry(linear);
        if (!Vcpu.Covers<TFrom>(ref entry, linear)) return ref SignMem<TFrom, T>(cpu, ref op);
        cpu.SetReg(op.A, Width.Narrow<T>(Width.Sign(Vcpu.At<TFrom>(ref entry, linear))));
        return ref cpu.Chain(ref op);
    }
}
