using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Backends.Software.Mmu;

/// <summary>
/// One entry of a software TLB: present only when the access can go straight to host memory. It is the negated page address;
/// the addend of the same entry lies <see cref="Tlb.Size"/> words further on. The interpreter adds and compares; the
/// translator's code does the same without touching the flags.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TlbEntry
{
    /// <summary>Minus the linear page address. An empty entry holds a page that is looked up elsewhere, so it matches no address.</summary>
    public ulong Negated;

    /// <summary>What to add to a linear address to get the host address.</summary>
    [UnscopedRef]
    public ref nint Addend
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => ref Unsafe.As<ulong, nint>(ref Unsafe.Add(ref Negated, Tlb.Size));
    }

    /// <summary>Whether the bytes from a linear address, whose entry this is, up to <paramref name="last"/> bytes on lie in the page.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly bool Covers(ulong linear, uint last) => linear + last + Negated < 4096;
}
