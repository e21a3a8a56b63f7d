using Iced.Intel;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using static Vmm.Backends.Software.Interpret.VectorHandlers;

namespace Vmm.Backends.Software.Interpret;

internal static unsafe partial class DotProductOps
{
    /// <summary>The handler for a dot product of float or double.</summary>
    public static nint Choose<T>(in Instruction i, ref Op op) where T : unmanaged
    {
        Normalise(i, ref op);
        // SAFETY: function pointers to static methods; nothing is dereferenced in this file.
        return Shape(i) switch
        {
            0 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Register<T, Legacy>,
            1 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Memory<T, Legacy>,
            2 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Register<T, Vex128>,
            3 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Memory<T, Vex128>,
            4 => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Register<T, Vex256>,
            _ => (nint)(delegate*<Vcpu, ref Op, ref Op>)&Memory<T, Vex256>,
        };
    }
}
