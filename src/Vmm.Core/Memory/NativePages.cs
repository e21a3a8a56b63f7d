using Vmm.Core.Interop.Linux;
using Vmm.Core.Interop.Windows;

namespace Vmm.Core.Memory;

/// <summary>
/// Zeroed page-aligned memory straight from the operating system, committed as it is touched. What a machine of few pages gives back is kept for the
/// next one of its size, zero again: mapping, first faults and unmapping are most of the time that such a machine takes to begin and end.
/// </summary>
internal static class NativePages
{
    private static readonly PagesPool s_pool = new();

    /// <summary>Takes memory.</summary>
    /// <param name="length">Bytes; a multiple of 4096.</param>
    /// <exception cref="OutOfMemoryException">The host gave none.</exception>
    public static nint Allocate(ulong length)
    {
        if (OperatingSystem.IsWindows()) return Kernel32.AllocatePages(length);
        return s_pool.TryTake(length, out var address) ? address : LibC.AllocatePages(length);
    }

    /// <summary>Gives it back. Nobody may be using it.</summary>
    /// <param name="address">What was taken.</param>
    /// <param name="length">Its length.</param>
    public static void Free(nint address, ulong length)
    {
        if (OperatingSystem.IsWindows()) Kernel32.FreePages(address);
        else if (!s_pool.TryKeep(address, length)) LibC.FreePages(address, length);
    }
}
