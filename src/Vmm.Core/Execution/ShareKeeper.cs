namespace Vmm.Core.Execution;

/// <summary>Keeps one machine's <see cref="CpuShare"/>: its cap account and its place in the pool, for all of its vCPUs.</summary>
internal sealed class ShareKeeper
{
    private readonly Lock _lock = new();
    private readonly CapAccount? _cap;
    private readonly CpuPool? _pool;
    private readonly FairQueue.Member _member;

    private ShareKeeper(CpuShare share)
    {
        _cap = double.IsPositiveInfinity(share.Cap) ? null : new CapAccount(share.Cap);
        _pool = share.Pool;
        _member = new FairQueue.Member(share.Weight);
    }

    /// <summary>Makes one where there is something to keep.</summary>
    public static ShareKeeper? Create(CpuShare share) => double.IsPositiveInfinity(share.Cap) && share.Pool is null ? null : new ShareKeeper(share);

    /// <summary>The pool the machine competes in.</summary>
    public CpuPool? Pool => _pool;

    /// <summary>A vCPU's place in the queue.</summary>
    public FairQueue.Ticket CreateTicket(Action granted, Action preempt) => new(_member, granted, preempt);

    /// <summary>See <see cref="CapAccount.Reserve"/>; without a cap the whole slice.</summary>
    /// <returns>What is granted, and when that is zero the nanoseconds until there can be more.</returns>
    public (long Granted, long Wait) Reserve(long now)
    {
        if (_cap is null) return (FairQueue.Slice, 0);
        lock (_lock)
        {
            var granted = _cap.Reserve(now, FairQueue.Slice);
            return (granted, granted > 0 ? 0 : _cap.UntilRenewal(now));
        }
    }

    /// <summary>See <see cref="CapAccount.Settle"/>.</summary>
    public void Settle(long granted, long used)
    {
        if (_cap is null) return;
        lock (_lock) _cap.Settle(granted, used);
    }
}
