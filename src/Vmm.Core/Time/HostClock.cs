using System.Diagnostics;
using Vmm.Core.Interop.Linux;

namespace Vmm.Core.Time;

/// <summary>The host's own time, for what concerns the host and not the guest.</summary>
internal static class HostClock
{
    private const long Second = 1_000_000_000;

    /// <summary>Nanoseconds of monotonic time.</summary>
    public static long Nanoseconds => Scale(Stopwatch.GetTimestamp(), Stopwatch.Frequency);

    /// <summary>
    /// Nanoseconds of processor time that the calling thread has used; where the host does not tell that finely, monotonic time. On
    /// Linux a guest that halts inside the kernel uses none.
    /// </summary>
    public static long ThreadNanoseconds => OperatingSystem.IsLinux() ? LibC.ThreadCpuNanoseconds() : Nanoseconds;

    /// <summary>Converts ticks of any frequency to nanoseconds without losing digits.</summary>
    public static long Scale(long ticks, long frequency) =>
        frequency == Second ? ticks : ticks / frequency * Second + ticks % frequency * Second / frequency;
}
