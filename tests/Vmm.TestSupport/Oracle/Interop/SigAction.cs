using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.TestSupport.Oracle.Interop;

/// <summary>struct sigaction of glibc and musl on x86-64.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SigAction
{
    public nint Handler;
    public SigSet Mask;
    public int Flags;
    public nint Restorer;

    [InlineArray(16)]
    internal struct SigSet
    {
        private ulong _w0;
    }
}
