// getrandom(2).
using System.Runtime.InteropServices;

namespace Vmm.Backends.Software.Interop;

/// <summary>Linux's call for random numbers.</summary>
internal static partial class LinuxRandom
{
    /// <summary>64 bits of the kernel's cryptographic generator. False where the call fails.</summary>
    public static bool TryGet(out ulong random) => getrandom(out random, sizeof(ulong), 0) == sizeof(ulong);

    [LibraryImport("libc")]
    private static partial nint getrandom(out ulong buffer, nuint length, uint flags);
}
