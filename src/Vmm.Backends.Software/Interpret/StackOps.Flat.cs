using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>PUSH and POP of a 64-bit register while the stack's page is in the TLB.</summary>
internal static partial class StackOps
{
    private static ref Op PushFlat(Vcpu cpu, ref Op op)
    {
        ref var rsp = ref cpu.Reg<ulong>(Rsp);
        var linear = rsp - 8;
        ref var entry = ref cpu.WriteEntry(linear);
        if (!Vcpu.Covers<ulong>(ref entry, linear)) return ref PushReg<ulong>(cpu, ref op);
        Vcpu.Put(ref entry, linear, cpu.Reg<ulong>(op.A));
        rsp = linear;
        return ref cpu.Chain(ref op);
    }

    private static ref Op PopFlat(Vcpu cpu, ref Op op)
    {
        ref var rsp = ref cpu.Reg<ulong>(Rsp);
        var linear = rsp;
        ref var entry = ref cpu.ReadEntry(linear);
        if (!Vcpu.Covers<ulong>(ref entry, linear)) return ref PopReg<ulong>(cpu, ref op);
        rsp = linear + 8;
        cpu.Reg<ulong>(op.A) = Vcpu.At<ulong>(ref entry, linear);
        return ref cpu.Chain(ref op);
    }
}
