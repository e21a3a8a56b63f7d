namespace Vmm.Core.Execution;

/// <summary>
/// Weighted fair queueing of vCPU slices on a number of cores. Each machine has a virtual time that grows with its use divided by
/// its weight; the waiting vCPU of the machine with the least goes first, equal ones in the order they came. A slice is charged in
/// full when it begins and corrected when it ends, so that one machine's many vCPUs do not all count as unserved. A machine that
/// comes back from idling starts at the present virtual time less a bounded credit: sleeping neither saves up nor costs; where it is
/// behind a running machine by more than a millisecond's worth, it does not wait for the end of that slice.
/// Pure: it is told the time used. One caller at a time.
/// </summary>
/// <param name="cores">How many slices run at once.</param>
internal sealed class FairQueue(int cores)
{
    /// <summary>The length of a slice, in nanoseconds.</summary>
    public const long Slice = 5_000_000;

    private const long Granularity = 1_000_000;

    /// <summary>Virtual time is use times this divided by the weight.</summary>
    private const long Scale = 100;

    private readonly List<Ticket> _waiting = [];
    private readonly List<Ticket> _running = [];
    private long _virtualNow;

    /// <summary>Asks for a slice. It may be granted at once: see <see cref="Ticket.IsRunning"/>.</summary>
    /// <param name="ticket">A vCPU that neither waits nor runs.</param>
    public void Request(Ticket ticket)
    {
        if (ticket.Status != TicketStatus.Idle) throw new InvalidOperationException("The ticket is in use.");
        var member = ticket.Member;
        if (member.Active++ == 0) member.VirtualTime = Math.Max(member.VirtualTime, _virtualNow - Charge(member, Slice));
        ticket.Status = TicketStatus.Waiting;
        _waiting.Add(ticket);
        Dispatch(ticket);
        if (!ticket.IsRunning) PreemptFor(ticket);
    }

    /// <summary>Ends a slice of a vCPU that goes on: it competes for its core with those that wait.</summary>
    /// <param name="ticket">A vCPU that runs.</param>
    /// <param name="used">Nanoseconds it has run.</param>
    public void Renew(Ticket ticket, long used)
    {
        if (ticket.Status != TicketStatus.Running) throw new InvalidOperationException("The ticket is not running.");
        Settle(ticket, used);
        ticket.Status = TicketStatus.Waiting;
        _waiting.Add(ticket);
        Dispatch(ticket);
    }

    /// <summary>Gives a slice back, or stops waiting for one.</summary>
    /// <param name="ticket">A vCPU that waits or runs; of an idle one nothing happens.</param>
    /// <param name="used">Nanoseconds it has run.</param>
    public void Release(Ticket ticket, long used)
    {
        if (ticket.Status == TicketStatus.Idle) return;
        if (ticket.Status == TicketStatus.Waiting) _waiting.Remove(ticket);
        else Settle(ticket, used);
        ticket.Status = TicketStatus.Idle;
        ticket.Member.Active--;
        Dispatch(null);
    }

    private static long Charge(Member member, long nanoseconds) => nanoseconds * Scale / member.Weight;

    private void Settle(Ticket ticket, long used)
    {
        ticket.Member.VirtualTime += Charge(ticket.Member, used - Slice);
        _running.Remove(ticket);
    }

    private void Dispatch(Ticket? caller)
    {
        while (_running.Count < cores && _waiting.Count > 0)
        {
            var next = _waiting[0];
            foreach (var ticket in _waiting)
            {
                if (ticket.Member.VirtualTime < next.Member.VirtualTime) next = ticket;
            }

            _waiting.Remove(next);
            var member = next.Member;
            _virtualNow = Math.Max(_virtualNow, member.VirtualTime);
            next.Began = member.VirtualTime;
            member.VirtualTime += Charge(member, Slice);
            next.IsPreempted = false;
            next.Status = TicketStatus.Running;
            _running.Add(next);
            if (next != caller) next.Granted();
        }
    }

    private void PreemptFor(Ticket ticket)
    {
        var ahead = _running[0];
        foreach (var running in _running)
        {
            if (running.Began > ahead.Began) ahead = running;
        }

        if (ahead.IsPreempted || ahead.Began - ticket.Member.VirtualTime < Charge(ticket.Member, Granularity)) return;
        ahead.IsPreempted = true;
        ahead.Preempt();
    }

    /// <summary>A machine in the queue.</summary>
    /// <param name="weight">1 to 10 000.</param>
    internal sealed class Member(int weight)
    {
        public int Weight { get; } = weight;

        public long VirtualTime { get; set; }

        /// <summary>How many of its vCPUs wait or run.</summary>
        public int Active { get; set; }
    }

    /// <summary>A vCPU in the queue.</summary>
    /// <param name="member">Its machine.</param>
    /// <param name="granted">Called when a slice begins that was waited for, from within another ticket's call.</param>
    /// <param name="preempt">Called when its slice should end early.</param>
    internal sealed class Ticket(Member member, Action granted, Action preempt)
    {
        private volatile TicketStatus _status;
        private volatile bool _isPreempted;

        public Member Member { get; } = member;

        public Action Granted { get; } = granted;

        public Action Preempt { get; } = preempt;

        /// <summary>The machine's virtual time when the slice began.</summary>
        public long Began { get; set; }

        /// <summary>Whether its slice should end early.</summary>
        public bool IsPreempted { get => _isPreempted; set => _isPreempted = value; }

        public TicketStatus Status { get => _status; set => _status = value; }

        /// <summary>Whether it has a slice.</summary>
        public bool IsRunning => _status == TicketStatus.Running;
    }

    internal enum TicketStatus
    {
        Idle,
        Waiting,
        Running,
    }
}
