using System.Runtime.InteropServices;

namespace Vmm.Benchmarks;

/// <summary>CPU time of a running process, all its threads, in nanoseconds (clock_getcpuclockid(3)).</summary>
internal static partial class ProcessTime
{
    public static double Seconds(int pid)
    {
        if (clock_getcpuclockid(pid, out var clock) != 0 || clock_gettime(clock, out var time) != 0) throw new InvalidOperationException($"Process {pid} has no CPU clock.");
        return time.Seconds + time.Nanoseconds / 1e9;
    }

    /// <summary>CPU time of the calling thread in nanoseconds (CLOCK_THREAD_CPUTIME_ID).</summary>
    public static long ThreadNanoseconds()
    {
        const int CLOCK_THREAD_CPUTIME_ID = 3;
        if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, out var time) != 0) throw new InvalidOperationException("This thread has no CPU clock.");
        return time.Seconds * 1_000_000_000 + time.Nanoseconds;
    }

    [LibraryImport("libc")]
    private static partial int clock_getcpuclockid(int pid, out int clock);

    [LibraryImport("libc")]
    private static partial int clock_gettime(int clock, out TimeSpec time);

    [StructLayout(LayoutKind.Sequential)]
    private struct TimeSpec
    {
        public long Seconds, Nanoseconds;
    }
}
