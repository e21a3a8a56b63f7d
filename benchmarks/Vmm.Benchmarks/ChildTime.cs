using System.Runtime.InteropServices;

namespace Vmm.Benchmarks;

/// <summary>CPU time of all child processes that have ended (getrusage(2), RUSAGE_CHILDREN).</summary>
internal static partial class ChildTime
{
    private const int RUSAGE_CHILDREN = -1;

    public static double Seconds
    {
        get
        {
            Span<long> usage = stackalloc long[36];
            if (getrusage(RUSAGE_CHILDREN, ref usage[0]) != 0) throw new InvalidOperationException("getrusage failed.");
            return usage[0] + usage[2] + (usage[1] + usage[3]) / 1e6;
        }
    }

    [LibraryImport("libc")]
    private static partial int getrusage(int who, ref long usage);
}
