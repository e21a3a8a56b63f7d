using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Cpu;

/// <summary>Single step and debug registers (Intel SDM vol. 3, chapter 18).</summary>
internal sealed partial class Vcpu
{
    private bool _debugStop;
    private bool _debugFault;

    private bool HostOwnsDebug => false;

    private bool DataBreakpointsOn => false;

    private bool InstructionBreakpoint(ulong rip) => false;

    // Alignment (#AC) and data breakpoints, where they are on.
    private bool CheckedAccess(ulong linear, int size, Access access)
    {
        if (S.Cpl == 3 && (S.SystemFlags & Flags.AC) != 0 && (S.Cr0 & ControlBits.Cr0Am) != 0 && size is 2 or 4 or 8 && (linear & (uint)(size - 1)) != 0)
        {
            return Raise(Vector.AC, 0);
        }

        return true;
    }
}
