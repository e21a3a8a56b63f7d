using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Cpu;

/// <summary>Checks of an address without an access: ENTER's last frame byte, cache-line instructions.</summary>
internal sealed unsafe partial class Vcpu
{
    /// <summary>Translates one byte's address with the current privilege, or records the fault that the access would raise.</summary>
    public bool TryTouch(ulong linear, Access access) => TryRun(linear, access, out _, out _);

    /// <summary>Checks the memory operand as an access of one byte would.</summary>
    public bool TryTouch(ref Op op, Access access) => TryLinear(ref op, 1, access, out var linear) && (TryTouch(linear, access) || StackFault(ref op));

    /// <summary>Checks the stack as a write of one byte would.</summary>
    /// <param name="offset">Bytes above RSP (negative ones wrap as the stack does).</param>
    public bool TryTouchStack(ulong offset)
    {
        if (S.StackMask == ulong.MaxValue) return TryTouch(Gpr(4) + offset, Access.Write) || StackFault();
        return TrySegment(2, (Gpr(4) + offset) & S.StackMask, 1, Access.Write, out var linear) && (TryTouch(linear, Access.Write) || StackFault());
    }
}
