using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Interpret;

/// <summary>
/// The commonest memory forms for plain 64-bit addresses that are in the TLB. Anything else goes on in the general form. They
/// have no local whose address is taken, so that they are left by a jump to the next handler.
/// </summary>
internal static partial class AluOps
{
    private static ref Op RegFlat<TOp, T, TAddress>(Vcpu cpu, ref Op op) where TAddress : struct, IAddress where TOp : struct, IBinary where T : unmanaged
    {
        var linear = TAddress.Linear(cpu, ref op);
        ref var entry = ref cpu.ReadEntry(linear);
        if (!Vcpu.Covers<T>(ref entry, linear)) return ref RegMem<TOp, T>(cpu, ref op);
        ref var s = ref cpu.S;
        var a = cpu.Reg<T>(op.A);
        var b = Vcpu.At<T>(ref entry, linear);
        var r = TOp.Run(ref s, a, b);
        if (TOp.Writes) cpu.SetReg(op.A, r);
        TOp.SetFlags(ref s, a, b, r);
        return ref cpu.Chain(ref op);
    }

    private static ref Op FlatReg<TOp, T, TAddress>(Vcpu cpu, ref Op op) where TAddress : struct, IAddress where TOp : struct, IBinary where T : unmanaged
    {
        var linear = TAddress.Linear(cpu, ref op);
        ref var entry = ref TOp.Writes ? ref cpu.WriteEntry(linear) : ref cpu.ReadEntry(linear);
        if (!Vcpu.Covers<T>(ref entry, linear)) return ref MemReg<TOp, T>(cpu, ref op);
        Flat<TOp, T>(cpu, ref entry, linear, cpu.Reg<T>(op.A));
        return ref cpu.Chain(ref op);
    }

    private static ref Op FlatImm<TOp, T, TAddress>(Vcpu cpu, ref Op op) where TAddress : struct, IAddress where TOp : struct, IBinary where T : unmanaged
    {
        var linear = TAddress.Linear(cpu, ref op);
        ref var entry = ref TOp.Writes ? ref cpu.WriteEntry(linear) : ref cpu.ReadEntry(linear);
        if (!Vcpu.Covers<T>(ref entry, linear)) return ref MemImm<TOp, T>(cpu, ref op);
        Flat<TOp, T>(cpu, ref entry, linear, Width.Imm<T>(ref op));
        return ref cpu.Chain(ref op);
    }

    private static ref Op Flat<TOp, T, TAddress>(Vcpu cpu, ref Op op) where TAddress : struct, IAddress where TOp : struct, IUnary where T : unmanaged
    {
        var linear = TAddress.Linear(cpu, ref op);
        ref var entry = ref cpu.WriteEntry(linear);
        if (!Vcpu.Covers<T>(ref entry, linear)) return ref Mem<TOp, T>(cpu, ref op);
        var a = Vcpu.At<T>(ref entry, linear);
        var r = TOp.Run(a);
        Vcpu.Put(ref entry, linear, r);
        TOp.SetFlags(ref cpu.S, a, r);
        return ref cpu.Chain(ref op);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Flat<TOp, T>(Vcpu cpu, ref TlbEntry entry, ulong linear, T b) where TOp : struct, IBinary where T : unmanaged
    {
        ref var s = ref cpu.S;
        var a = Vcpu.At<T>(ref entry, linear);
        var r = TOp.Run(ref s, a, b);
        if (TOp.Writes) Vcpu.Put(ref entry, linear, r);
        TOp.SetFlags(ref s, a, b, r);
    }
}
