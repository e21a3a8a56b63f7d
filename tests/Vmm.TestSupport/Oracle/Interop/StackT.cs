using System.Runtime.InteropServices;

namespace Vmm.TestSupport.Oracle.Interop;

/// <summary>stack_t of Linux.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct StackT
{
    public nint Sp;
    public int Flags;
    public nint Size;
}
