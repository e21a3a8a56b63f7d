using Vmm.Core.Backends;
using Vmm.Core.Devices;
using Vmm.Core.State;
using Vmm.TestSupport.Machines;

namespace Vmm.Core.Tests.Devices;

public class InletTests
{
    private const int Limit = 20_000;
    private readonly Recorder _device = new();

    [Fact]
    public void Post_Open_DeliversUnderTheDevicesLock()
    {
        var (gate, inlet) = Make();
        gate.Open();
        inlet.Post(1);
        Assert.Equal([1], _device.Items);
        Assert.True(_device.WasLocked);
    }

    [Fact]
    public void Post_Closed_WaitsInOrder()
    {
        var (gate, inlet) = Make();
        for (var i = 0; i < 5; i++) inlet.Post(i);
        Assert.Empty(_device.Items);
        gate.Open();
        gate.Drain();
        Assert.Equal([0, 1, 2, 3, 4], _device.Items);
        gate.Close();
        inlet.Post(9);
        Assert.Equal(5, _device.Items.Count);
    }

    [Fact]
    public void Post_TwoInletsWhileClosed_KeepOneOrder()
    {
        var (gate, inlet) = Make();
        var other = new Inlet<string>(gate, _device, s => _device.Take(int.Parse(s)));
        inlet.Post(1);
        other.Post("2");
        inlet.Post(3);
        gate.Open();
        gate.Drain();
        Assert.Equal([1, 2, 3], _device.Items);
    }

    [Fact]
    public void Post_FromADelivery_ComesAfterIt()
    {
        var gate = new InletGate(e => throw e);
        Inlet<int> inlet = null!;
        var depth = 0;
        inlet = new Inlet<int>(gate, _device, i =>
        {
            Assert.Equal(0, depth++);
            _device.Take(i);
            if (i < 3) inlet.Post(i + 1);
            depth--;
        });
        gate.Open();
        inlet.Post(0);
        // The posts above were made under the device's lock: a pool thread may be the one that delivers, after this one let go.
        SpinWait.SpinUntil(() => { lock (_device) return _device.Items.Count == 4; });
        Assert.Equal([0, 1, 2, 3], _device.Items);
    }

    [Fact(Timeout = Limit)]
    public async Task Post_UnderTheDevicesOwnLock_IsDeliveredAfterwards()
    {
        var (gate, inlet) = Make();
        gate.Open();
        lock (_device)
        {
            inlet.Post(1);
            Assert.Empty(_device.Items);
        }

        await TestMachine.UntilAsync(() => { lock (_device) return _device.Items.Count == 1; });
    }

    [Fact(Timeout = Limit)]
    public async Task Post_ManyThreads_DeliversEachOnceOneAtATime()
    {
        var (gate, inlet) = Make();
        gate.Open();
        await Task.WhenAll(Enumerable.Range(0, 4).Select(t => Task.Run(() =>
        {
            for (var i = 0; i < 5_000; i++) inlet.Post(t * 5_000 + i);
        })));
        await TestMachine.UntilAsync(() => { lock (_device) return _device.Items.Count == 20_000; });
        Assert.Equal(20_000, _device.Items.Distinct().Count());
        foreach (var ofThread in _device.Items.GroupBy(i => i / 5_000)) Assert.Equal(ofThread.Order(), ofThread);
    }

    [Fact]
    public void Delivery_Throws_ReportsAndGoesOn()
    {
        var errors = new List<Exception>();
        var gate = new InletGate(errors.Add);
        var inlet = new Inlet<int>(gate, _device, i => { if (i == 1) throw new IOException(); _device.Take(i); });
        gate.Open();
        inlet.Post(1);
        inlet.Post(2);
        Assert.IsType<IOException>(Assert.Single(errors));
        Assert.Equal([2], _device.Items);
    }

    [Fact(Timeout = Limit)]
    public async Task Counted_Post_IsDeliveredOnTheVcpuThreadOutsideRun()
    {
        Inlet<int>? inlet = null;
        Thread? runner = null, deliverer = null;
        var backend = new FakeHypervisor(v =>
        {
            runner = Thread.CurrentThread;
            return v.WaitForKick();
        });
        var ran = new TaskCompletionSource();
        await using var vm = TestMachine.Builder(backend).WithCountedTime().AddPart(m => inlet = m.CreateInlet<int>(_device, _ =>
        {
            Assert.False(backend.Partitions[0].Fakes[0].IsRunning);
            deliverer = Thread.CurrentThread;
            ran.SetResult();
        })).Build();
        await vm.StartAsync();
        inlet!.Post(1);
        await ran.Task;
        await TestMachine.UntilAsync(() => Volatile.Read(ref runner) is not null);
        Assert.Same(runner, deliverer);
    }

    [Fact(Timeout = Limit)]
    public async Task Counted_HaltedWithATimer_JumpsToItsDeadline()
    {
        var times = new List<long>();
        var done = new TaskCompletionSource();
        await using var vm = TestMachine.Builder(FakeHypervisor.Halted()).WithCountedTime().AddPart(m =>
        {
            Vmm.Core.Time.VmTimer timer = null!;
            timer = m.Clock.CreateTimer(_device, () =>
            {
                times.Add(m.Clock.Now);
                if (times.Count < 3) timer.Arm(m.Clock.Now + 3_600_000_000_000);
                else done.SetResult();
            });
            timer.Arm(3_600_000_000_000);
        }).Build();
        await vm.StartAsync();
        await done.Task;
        Assert.Equal([3_600_000_000_000, 7_200_000_000_000, 10_800_000_000_000], times);
    }

    [Fact(Timeout = Limit)]
    public async Task Counted_HaltedWithoutATimer_WaitsForAnInlet()
    {
        Inlet<int>? inlet = null;
        var got = new TaskCompletionSource();
        var backend = FakeHypervisor.Halted();
        await using var vm = TestMachine.Builder(backend).WithCountedTime().AddPart(m => inlet = m.CreateInlet<int>(_device, _ => got.SetResult())).Build();
        await vm.StartAsync();
        await TestMachine.UntilAsync(() => backend.Partitions[0].Fakes[0].Runs > 0);
        Assert.Equal(0, vm.Clock.Now);
        inlet!.Post(1);
        await got.Task;
    }

    private (InletGate, Inlet<int>) Make()
    {
        var gate = new InletGate(e => throw e);
        return (gate, new Inlet<int>(gate, _device, _device.Take));
    }

    private sealed class Recorder : IDevice
    {
        public List<int> Items { get; } = [];

        public bool WasLocked { get; private set; }

        public void Take(int item)
        {
            WasLocked = Monitor.IsEntered(this);
            Items.Add(item);
        }

        public void Reset() { }

        public void VisitState(StateVisitor visitor) { }
    }
}
