using Vmm.Core.Time;

namespace Vmm.Core.Execution;

/// <summary>
/// One vCPU's side of the CPU share: obtains a slice before each run, has the vCPU kicked when it is over, and accounts what was
/// used. Only what the thread spends running counts: a vCPU that waits for an interrupt holds no slice.
/// </summary>
internal sealed class VcpuLease : IDisposable
{
    private readonly ShareKeeper _keeper;
    private readonly AlarmSignal _wake;
    private readonly FairQueue.Ticket? _ticket;
    private readonly ITimer _end;
    private long _granted;
    private long _begun;

    /// <summary>Makes the lease of one vCPU.</summary>
    /// <param name="keeper">The machine's share.</param>
    /// <param name="wake">The signal its thread waits on.</param>
    /// <param name="kick">Ends a run.</param>
    public VcpuLease(ShareKeeper keeper, AlarmSignal wake, Action kick)
    {
        (_keeper, _wake) = (keeper, wake);
        if (keeper.Pool is not null) _ticket = keeper.CreateTicket(wake.Set, () => _end!.Change(TimeSpan.Zero, Timeout.InfiniteTimeSpan));

        // Real time, whatever the guest's clock follows: this is about the host's processors.
        _end = TimeProvider.System.CreateTimer(static kick => ((Action)kick!)(), kick, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Waits for a slice and begins it.</summary>
    /// <param name="gate">A request at the gate ends the wait.</param>
    /// <returns>Whether the vCPU may run; if not, its thread passes the gate and asks again.</returns>
    public bool Begin(VcpuGate gate)
    {
        var (granted, wait) = _keeper.Reserve(HostClock.Nanoseconds);
        if (granted == 0)
        {
            Abandon();
            if (gate.IsOpen) _wake.Wait(wait);
            return false;
        }

        if (_ticket is not null && !WaitForCore(_ticket, gate))
        {
            _keeper.Settle(granted, 0);
            return false;
        }

        _granted = granted;
        _begun = HostClock.ThreadNanoseconds;
        _end.Change(TimeSpan.FromTicks(granted / 100 + 1), Timeout.InfiniteTimeSpan);

        // A preemption may have come between the grant and the line above, which then has set it aside.
        if (_ticket is { IsPreempted: true }) _end.Change(TimeSpan.Zero, Timeout.InfiniteTimeSpan);
        return true;
    }

    /// <summary>Ends the slice: the run has returned, for whatever reason.</summary>
    /// <param name="goesOn">The vCPU asks for another slice at once: it keeps its core unless somebody has a better claim.</param>
    public void End(bool goesOn)
    {
        _end.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        var used = HostClock.ThreadNanoseconds - _begun;
        _keeper.Settle(_granted, used);
        if (_ticket is null) return;
        if (goesOn) _keeper.Pool!.Renew(_ticket, used);
        else _keeper.Pool!.Release(_ticket, used);
    }

    /// <summary>Gives up the claim that <see cref="End"/> may have kept: the thread is about to park.</summary>
    public void Abandon()
    {
        if (_ticket is not null) _keeper.Pool!.Release(_ticket, 0);
    }

    private bool WaitForCore(FairQueue.Ticket ticket, VcpuGate gate)
    {
        if (ticket.Status == FairQueue.TicketStatus.Idle) _keeper.Pool!.Request(ticket);
        while (!ticket.IsRunning)
        {
            if (!gate.IsOpen)
            {
                Abandon();
                return false;
            }

            _wake.Wait(long.MaxValue);
        }

        return true;
    }

    public void Dispose() => _end.Dispose();
}
