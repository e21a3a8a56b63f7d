namespace Vmm.TestSupport;

/// <summary>What code allocates on its own thread.</summary>
public static class Allocations
{
    // While other threads collect garbage the runtime now and then counts up to 8 KiB for a thread that has allocated nothing: what it has left of a
    // piece of the heap. What does allocate does so each time.
    private const int Times = 3;

    /// <summary>Bytes that an action allocates, the least of some times.</summary>
    public static long LeastOf(Action action)
    {
        var least = long.MaxValue;
        for (var i = 0; i < Times; i++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            action();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }
}
