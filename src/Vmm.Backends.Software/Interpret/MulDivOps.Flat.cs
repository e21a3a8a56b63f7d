using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>Multiplications by memory at plain 64-bit addresses that are in the TLB: the inner loops of long arithmetic.</summary>
internal static partial class MulDivOps
{
    private static ref Op MulFlat<T, TAddress>(Vcpu cpu, ref Op op) where TAddress : struct, IAddress where T : unmanaged
    {
        var linear = TAddress.Linear(cpu, ref op);
        ref var entry = ref cpu.ReadEntry(linear);
        if (!Vcpu.Covers<T>(ref entry, linear)) return ref MulMem<T>(cpu, ref op);
        Multiply(cpu, Vcpu.At<T>(ref entry, linear));
        return ref cpu.Chain(ref op);
    }

    private static ref Op MulxFlat<T, TAddress>(Vcpu cpu, ref Op op) where TAddress : struct, IAddress where T : unmanaged
    {
        var linear = TAddress.Linear(cpu, ref op);
        ref var entry = ref cpu.ReadEntry(linear);
        if (!Vcpu.Covers<T>(ref entry, linear)) return ref MulxMem<T>(cpu, ref op);
        Mulx(cpu, ref op, Vcpu.At<T>(ref entry, linear));
        return ref cpu.Chain(ref op);
    }

    private static ref Op ImulFlat<T, TAddress>(Vcpu cpu, ref Op op) where TAddress : struct, IAddress where T : unmanaged
    {
        var linear = TAddress.Linear(cpu, ref op);
        ref var entry = ref cpu.ReadEntry(linear);
        if (!Vcpu.Covers<T>(ref entry, linear)) return ref ImulRegMem<T>(cpu, ref op);
        Truncated(cpu, ref op, cpu.Reg<T>(op.A), Vcpu.At<T>(ref entry, linear));
        return ref cpu.Chain(ref op);
    }
}
