using System.Runtime.InteropServices;

namespace Vmm.Backends.Software.Mmu;

/// <summary>
/// What translated code compares an address with: it is inside if the difference to the window's start has none of the mask's bits. A closed
/// window differs from zero by a secret that no canonical address makes up for; a constant address needs no mask, and is inside while
/// <see cref="Negated"/> is zero.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Window
{
    /// <summary>Minus the linear address of the first byte.</summary>
    public ulong Negated;

    /// <summary>Bits of the difference that must be zero.</summary>
    public ulong Mask;

    /// <summary>What to add to a linear address to get the host address. It stays when the window is closed: code that was let in goes on with it.</summary>
    public nint Addend;

    /// <summary>How often the address may be outside before C# is asked.</summary>
    public int Left;

    /// <summary>Not zero if the code that has the window moves it by itself, to the page that the TLB has for the address.</summary>
    public int Moves;

    /// <summary>Not zero if the window, should it move by itself, must be listed so that it can be closed.</summary>
    public uint Unlisted;

    /// <summary>The array of the TLB that it follows.</summary>
    public int Array;

    /// <summary>A constant address; else zero.</summary>
    public ulong Constant;

    /// <summary>An address in it, while it is open.</summary>
    public readonly ulong Start => Constant - Negated;
}
