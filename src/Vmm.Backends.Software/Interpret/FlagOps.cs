using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>LAHF, SAHF, CLC, STC, CMC, CLD, STD and SALC.</summary>
internal static partial class FlagOps
{
    private const ulong Low = Flags.CF | Flags.PF | Flags.AF | Flags.ZF | Flags.SF;

    private static ref Op LoadFlags(Vcpu cpu, ref Op op)
    {
        cpu.Reg<byte>(1) = (byte)((cpu.S.Arithmetic & Low) | 2);
        return ref cpu.Chain(ref op);
    }

    private static ref Op StoreFlags(Vcpu cpu, ref Op op)
    {
        ref var s = ref cpu.S;
        s.SetArithmetic((cpu.Reg<byte>(1) & Low) | (s.OF ? Flags.OF : 0));
        return ref cpu.Chain(ref op);
    }

    private static ref Op ClearCarry(Vcpu cpu, ref Op op)
    {
        cpu.S.CF = false;
        return ref cpu.Chain(ref op);
    }

    private static ref Op SetCarry(Vcpu cpu, ref Op op)
    {
        cpu.S.CF = true;
        return ref cpu.Chain(ref op);
    }

    private static ref Op FlipCarry(Vcpu cpu, ref Op op)
    {
        cpu.S.CF = !cpu.S.CF;
        return ref cpu.Chain(ref op);
    }

    private static ref Op ClearDirection(Vcpu cpu, ref Op op)
    {
        cpu.S.SystemFlags &= ~Flags.DF;
        return ref cpu.Chain(ref op);
    }

    private static ref Op SetDirection(Vcpu cpu, ref Op op)
    {
        cpu.S.SystemFlags |= Flags.DF;
        return ref cpu.Chain(ref op);
    }

    private static ref Op CarryToAl(Vcpu cpu, ref Op op)
    {
        cpu.Reg<byte>(0) = cpu.S.CF ? (byte)0xFF : (byte)0;
        return ref cpu.Chain(ref op);
    }
}
