// Intel SDM vol. 1, 8.7: x87 exceptions, and stores that they prevent.
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Cpu;

/// <summary>What the x87 unit needs of the processor.</summary>
internal sealed partial class Vcpu
{
    /// <summary>
    /// FERR# (SDM vol. 1, 8.7.2). Called on this processor's thread when a waiting x87 instruction meets a pending unmasked exception while CR0.NE is
    /// clear. A board with an 8259 makes IRQ 13 of it; without one the exception is ignored.
    /// </summary>
    public Action? FloatingPointError { get; set; }

    /// <summary>Whether a store to the memory operand would succeed: one that an exception prevents still needs a writable place.</summary>
    public bool TryProbeStore(ref Op op, int size)
    {
        if (!TryLinear(ref op, size, Access.Write, out var linear))
        {
            return false;
        }
        var lastPage = (linear + (uint)size - 1) & ~0xFFFUL;
        return (TryProbeWrite(linear, 1) && (lastPage <= linear || TryProbeWrite(lastPage, 1))) || StackFault(ref op);
    }
}
