using Vmm.Core.Execution;

namespace Vmm.Core.Tests.Execution;

public class FairQueueTests
{
    [Theory]
    [InlineData(1, 100, 300)]
    [InlineData(1, 1, 10_000)]
    [InlineData(2, 100, 100)]
    public void TwoBusyMachines_ShareByWeight(int cores, int weightA, int weightB)
    {
        var simulation = new Simulation(cores);
        var a = simulation.Add(weightA, vcpus: 2);
        var b = simulation.Add(weightB, vcpus: 2);
        simulation.RunSlices(40_000);
        var expected = (double)weightA / (weightA + weightB);
        Assert.Equal(expected, (double)simulation.Used[a] / (simulation.Used[a] + simulation.Used[b]), 0.01);
    }

    [Fact]
    public void ManyVcpus_DoNotTakeMoreThanTheWeight()
    {
        var simulation = new Simulation(1);
        var many = simulation.Add(100, vcpus: 16);
        var one = simulation.Add(100, vcpus: 1);
        simulation.RunSlices(20_000);
        Assert.Equal(0.5, (double)simulation.Used[one] / (simulation.Used[one] + simulation.Used[many]), 0.01);
    }

    [Fact]
    public void OneVcpuOfTwoCores_CannotUseBoth_AndTheOtherGetsTheRest()
    {
        var simulation = new Simulation(2);
        var heavy = simulation.Add(10_000, vcpus: 1);
        var light = simulation.Add(1, vcpus: 4);
        simulation.RunSlices(10_000);
        Assert.Equal(0.5, (double)simulation.Used[heavy] / (simulation.Used[heavy] + simulation.Used[light]), 0.01);
    }

    [Fact]
    public void NeverMoreThanCoresRun()
    {
        var queue = new FairQueue(3);
        var tickets = Enumerable.Range(0, 10).Select(_ => new FairQueue.Ticket(new FairQueue.Member(100), () => { }, () => { })).ToArray();
        foreach (var ticket in tickets) queue.Request(ticket);
        Assert.Equal(3, tickets.Count(t => t.IsRunning));
        queue.Release(tickets[0], FairQueue.Slice);
        Assert.Equal(3, tickets.Count(t => t.IsRunning));
        Assert.True(tickets[3].IsRunning);
    }

    [Fact]
    public void Release_WhileWaiting_LeavesTheQueue()
    {
        var queue = new FairQueue(1);
        FairQueue.Ticket Make() => new(new FairQueue.Member(100), () => { }, () => { });
        var (a, b, c) = (Make(), Make(), Make());
        queue.Request(a);
        queue.Request(b);
        queue.Request(c);
        queue.Release(b, 0);
        queue.Release(a, FairQueue.Slice);
        Assert.False(b.IsRunning);
        Assert.True(c.IsRunning);
        queue.Release(b, 0);
        queue.Request(b);
        Assert.Throws<InvalidOperationException>(() => queue.Request(b));
    }

    [Fact]
    public void Sleeper_ComesBack_GetsABoundedCredit()
    {
        var simulation = new Simulation(1);
        var busy = simulation.Add(100, vcpus: 1);
        simulation.RunSlices(10_000);
        var sleeper = simulation.Add(100, vcpus: 1);
        simulation.RunSlices(20);

        // A machine that slept for 10 000 slices is at most a slice or two ahead.
        Assert.InRange(simulation.Slices[sleeper], 9, 13);
        _ = busy;
    }

    [Fact]
    public void OftenHalting_IsChargedOnlyForItsUse()
    {
        var simulation = new Simulation(1);
        var halting = simulation.Add(100, vcpus: 1, use: FairQueue.Slice / 10);
        var busy = simulation.Add(100, vcpus: 1);
        simulation.RunSlices(20_000);

        // Always ready again at once, it gets ten short turns for each long one.
        Assert.Equal(0.5, (double)simulation.Used[halting] / (simulation.Used[halting] + simulation.Used[busy]), 0.02);
    }

    /// <summary>Time in nanoseconds; each vCPU computes for its use, halts, and is ready again at once.</summary>
    private sealed class Simulation(int cores)
    {
        private readonly FairQueue _queue = new(cores);
        private readonly List<Vcpu> _vcpus = [];
        private int _machines;
        private long _now;

        public Dictionary<int, long> Used { get; } = [];

        public Dictionary<int, int> Slices { get; } = [];

        public int Add(int weight, int vcpus, long use = long.MaxValue)
        {
            var member = new FairQueue.Member(weight);
            var machine = _machines++;
            (Used[machine], Slices[machine]) = (0, 0);
            for (var i = 0; i < vcpus; i++)
            {
                var vcpu = new Vcpu { Machine = machine, Use = use, Left = use };
                vcpu.Ticket = new FairQueue.Ticket(member, () => Begin(vcpu), () => vcpu.Ends = _now);
                _vcpus.Add(vcpu);
                Request(vcpu);
            }

            return machine;
        }

        public void RunSlices(int count)
        {
            for (var i = 0; i < count; i++)
            {
                var vcpu = _vcpus.Where(v => v.Ticket.IsRunning).MinBy(v => v.Ends)!;
                _now = Math.Max(_now, vcpu.Ends);
                var used = _now - vcpu.Began;
                Used[vcpu.Machine] += used;
                Slices[vcpu.Machine]++;
                vcpu.Left -= used;
                if (vcpu.Left > 0)
                {
                    _queue.Renew(vcpu.Ticket, used);
                    if (vcpu.Ticket.IsRunning) Begin(vcpu);
                }
                else
                {
                    vcpu.Left = vcpu.Use;
                    _queue.Release(vcpu.Ticket, used);
                    Request(vcpu);
                }
            }
        }

        private void Request(Vcpu vcpu)
        {
            _queue.Request(vcpu.Ticket);
            if (vcpu.Ticket.IsRunning) Begin(vcpu);
        }

        private void Begin(Vcpu vcpu) => (vcpu.Began, vcpu.Ends) = (_now, _now + Math.Min(vcpu.Left, FairQueue.Slice));

        private sealed class Vcpu
        {
            public FairQueue.Ticket Ticket = null!;
            public int Machine;
            public long Use, Left, Began, Ends;
        }
    }
}
