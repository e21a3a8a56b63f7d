using System.Runtime.InteropServices;

namespace Vmm.Core.Interop.Windows;

/// <summary>The Win32 calls that Core needs on Windows hosts.</summary>
internal static partial class Kernel32
{
    private const uint MEM_COMMIT = 0x1000, MEM_RESERVE = 0x2000, MEM_RELEASE = 0x8000, PAGE_READWRITE = 4;

    [LibraryImport("kernel32", SetLastError = true)]
    private static partial nint VirtualAlloc(nint address, nuint size, uint type, uint protect);

    [LibraryImport("kernel32", SetLastError = true)]
    private static partial int VirtualFree(nint address, nuint size, uint type);

    public static nint AllocatePages(ulong length)
    {
        var address = VirtualAlloc(0, checked((nuint)length), MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
        return address != 0
            ? address
            : throw new OutOfMemoryException($"VirtualAlloc of {length} bytes of guest memory failed: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}.");
    }

    public static void FreePages(nint address) => _ = VirtualFree(address, 0, MEM_RELEASE);
}
