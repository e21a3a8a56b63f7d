using System.Runtime.InteropServices;

namespace Vmm.Core.Interop.Linux;

/// <summary>The C library calls that Core needs on Linux (and other Unix) hosts.</summary>
internal static partial class LibC
{
    private const int PROT_READ = 1, PROT_WRITE = 2;
    private const int MAP_PRIVATE = 2;
    private const int CLOCK_THREAD_CPUTIME_ID = 3;
    private static readonly int MAP_ANONYMOUS = OperatingSystem.IsLinux() ? 0x20 : 0x1000;
    private static readonly int MAP_NORESERVE = OperatingSystem.IsLinux() ? 0x4000 : 0x40;

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint mmap(nint addr, nuint length, int prot, int flags, int fd, long offset);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int munmap(nint addr, nuint length);

    public static nint AllocatePages(ulong length)
    {
        var address = mmap(0, checked((nuint)length), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        return address != -1
            ? address
            : throw new OutOfMemoryException($"mmap of {length} bytes of guest memory failed: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}.");
    }

    public static void FreePages(nint address, ulong length) => _ = munmap(address, (nuint)length);

    /// <summary>Processor time of the calling thread, in nanoseconds. Linux only.</summary>
    public static long ThreadCpuNanoseconds()
    {
        // clock_gettime cannot fail for this clock; were it to, zero use is what is charged.
        return clock_gettime(CLOCK_THREAD_CPUTIME_ID, out var time) == 0 ? time.Seconds * 1_000_000_000L + time.Nanoseconds : 0;
    }

    [LibraryImport("libc")]
    private static partial int clock_gettime(int clock, out Timespec time);

    [StructLayout(LayoutKind.Sequential)]
    private struct Timespec
    {
        public nint Seconds;
        public nint Nanoseconds;
    }
}
