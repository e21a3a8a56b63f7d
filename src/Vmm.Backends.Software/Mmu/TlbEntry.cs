using System.Runtime.InteropServices;

namespace Vmm.Backends.Software.Mmu;

/// <summary>One entry of a software TLB: present only when the access can go straight to host memory.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TlbEntry
{
    /// <summary>The linear page address; <see cref="Invalid"/> matches no address.</summary>
    public ulong Tag;

    /// <summary>What to add to a linear address to get the host address.</summary>
    public nint Addend;

    /// <summary>A tag that no page has.</summary>
    public const ulong Invalid = 1;
}
