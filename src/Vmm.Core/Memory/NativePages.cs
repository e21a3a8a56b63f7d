using Vmm.Core.Interop.Linux;
using Vmm.Core.Interop.Windows;

namespace Vmm.Core.Memory;

/// <summary>Zeroed page-aligned memory straight from the operating system, committed as it is touched.</summary>
internal static class NativePages
{
    public static nint Allocate(ulong length) =>
        OperatingSystem.IsWindows() ? Kernel32.AllocatePages(length) : LibC.AllocatePages(length);

    public static void Free(nint address, ulong length)
    {
        if (OperatingSystem.IsWindows()) Kernel32.FreePages(address);
        else LibC.FreePages(address, length);
    }
}
