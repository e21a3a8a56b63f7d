namespace Vmm.Core.Execution;

/// <summary>A number of host cores that several machines share by weight. Thread-safe; it needs no disposal.</summary>
public sealed class CpuPool
{
    private readonly Lock _lock = new();
    private readonly FairQueue _queue;

    /// <summary>Makes a pool.</summary>
    /// <param name="cores">How many vCPUs of the pool may run at once; 1 and up.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is less than one core.</exception>
    public CpuPool(int cores)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(cores, 1);
        Cores = cores;
        _queue = new FairQueue(cores);
    }

    /// <summary>How many vCPUs of the pool may run at once.</summary>
    public int Cores { get; }

    internal void Request(FairQueue.Ticket ticket)
    {
        lock (_lock) _queue.Request(ticket);
    }

    internal void Renew(FairQueue.Ticket ticket, long used)
    {
        lock (_lock) _queue.Renew(ticket, used);
    }

    internal void Release(FairQueue.Ticket ticket, long used)
    {
        lock (_lock) _queue.Release(ticket, used);
    }
}
