using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Interpret;

/// <summary>What computes nothing: NOP, hints, fences and cache-line instructions; and BOUND, RDRAND and RDSEED.</summary>
internal static partial class HintOps
{
    private static ref Op Nothing(Vcpu cpu, ref Op op) => ref cpu.Chain(ref op);

    private static ref Op Fence(Vcpu cpu, ref Op op)
    {
        Thread.MemoryBarrier();
        return ref cpu.Chain(ref op);
    }

    /// <summary>CLFLUSH, CLFLUSHOPT and CLWB: memory is coherent, but the address is checked as by a load of one byte.</summary>
    private static ref Op CacheLine(Vcpu cpu, ref Op op)
    {
        if (!cpu.TryTouch(ref op, Access.Read)) return ref cpu.Fault(ref op);
        return ref cpu.Chain(ref op);
    }

    private static ref Op Bound16(Vcpu cpu, ref Op op)
    {
        if (!cpu.TryLoad<uint>(ref op, out var bounds)) return ref cpu.Fault(ref op);
        var index = (short)cpu.Reg<ushort>(op.A);
        if (index < (short)bounds || index > (short)(bounds >> 16)) return ref cpu.Fault(ref op, Vector.BR);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op Bound32(Vcpu cpu, ref Op op)
    {
        if (!cpu.TryLoad<ulong>(ref op, out var bounds)) return ref cpu.Fault(ref op);
        var index = (int)cpu.Reg<uint>(op.A);
        if (index < (int)bounds || index > (int)(bounds >> 32)) return ref cpu.Fault(ref op, Vector.BR);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op Random<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        cpu.SetReg(op.A, Width.Narrow<T>(cpu.Entropy()));
        cpu.S.SetArithmetic(Flags.CF);
        return ref cpu.Chain(ref op);
    }
}
