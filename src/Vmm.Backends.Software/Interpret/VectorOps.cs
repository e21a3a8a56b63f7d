// Intel SDM vol. 3, 2.5 and table 13-1; vol. 2A, 2.4: when SSE and AVX instructions raise #UD and #NM.
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>SSE to SSE4.2, AES, PCLMULQDQ, SHA, AVX, AVX2, FMA, F16C and the state-saving instructions.</summary>
internal static partial class VectorOps
{
    private static ref Op RaiseSse(Vcpu cpu, ref Op op)
    {
        ref var s = ref cpu.S;
        var undefined = (s.Cr0 & ControlBits.Cr0Em) != 0 || (s.Cr4 & ControlBits.Cr4OsFxsr) == 0;
        return ref cpu.Fault(ref op, undefined || (s.Cr0 & ControlBits.Cr0Ts) == 0 ? Vector.UD : Vector.NM);
    }

    private static ref Op RaiseAvx(Vcpu cpu, ref Op op)
    {
        ref var s = ref cpu.S;
        var undefined = (s.Cr4 & ControlBits.Cr4OsXsave) == 0 || (s.Xcr0 & 6) != 6 || (s.Cr0 & ControlBits.Cr0Pe) == 0 || (s.SystemFlags & Flags.VM) != 0;
        return ref cpu.Fault(ref op, undefined || (s.Cr0 & ControlBits.Cr0Ts) == 0 ? Vector.UD : Vector.NM);
    }
}
