using System.Diagnostics;
using Vmm.Core.Backends;
using Vmm.Core.Errors;
using Vmm.Core.Execution;
using Vmm.Core.Time;
using Vmm.TestSupport.Machines;

namespace Vmm.Core.Tests.Execution;

public class CpuShareTests
{
    private const int Limit = 60_000;

    [Fact(Timeout = Limit)]
    public async Task Pool_OneCore_NeverRunsTwoVcpusAtOnceAndLetsAllRun()
    {
        var pool = new CpuPool(1);
        int running = 0, most = 0;
        var slices = new int[3];
        VcpuStop Run(int machine, FakeVcpu v)
        {
            var now = Interlocked.Increment(ref running);
            if (now > Volatile.Read(ref most)) Volatile.Write(ref most, now);
            try
            {
                return v.WaitForKick();
            }
            finally
            {
                Interlocked.Increment(ref slices[machine]);
                Interlocked.Decrement(ref running);
            }
        }

        var machines = Enumerable.Range(0, 3).Select(i => TestMachine.Builder(v => Run(i, v)).WithVcpus(2).WithCpuShare(new CpuShare(Weight: 100, Pool: pool)).Build()).ToArray();
        foreach (var vm in machines) await vm.StartAsync();
        await TestMachine.UntilAsync(() => slices.All(s => Volatile.Read(ref s) >= 4));
        await machines[0].PauseAsync();
        var before = Volatile.Read(ref slices[1]);
        await TestMachine.UntilAsync(() => Volatile.Read(ref slices[1]) >= before + 3);
        await machines[0].ResumeAsync();
        before = Volatile.Read(ref slices[0]);
        await TestMachine.UntilAsync(() => Volatile.Read(ref slices[0]) >= before + 3);
        foreach (var vm in machines) await vm.DisposeAsync();
        Assert.Equal(1, most);
    }

    [Fact(Timeout = Limit)]
    public async Task Pool_HaltedMachine_LeavesTheCoreToOthers()
    {
        var pool = new CpuPool(1);
        var halted = FakeHypervisor.Halted();
        var turns = 0;
        await using var idle = TestMachine.Builder(halted).WithCpuShare(new CpuShare(Pool: pool)).Build();
        await using var busy = TestMachine.Builder(v =>
        {
            Interlocked.Increment(ref turns);
            return v.WaitForKick();
        }).WithCpuShare(new CpuShare(Pool: pool)).Build();
        await idle.StartAsync();
        await TestMachine.UntilAsync(() => halted.Partitions[0].Fakes[0].Runs > 0);
        await busy.StartAsync();
        await TestMachine.UntilAsync(() => Volatile.Read(ref turns) > 3);
        Assert.InRange(halted.Partitions[0].Fakes[0].Runs, 1, 3);
    }

    [Fact(Timeout = Limit)]
    public async Task Cap_BusyGuest_UsesNoMore()
    {
        long used = 0;
        await using var vm = TestMachine.Builder(v =>
        {
            var start = HostClock.ThreadNanoseconds;
            while (!v.TakeKick()) Thread.SpinWait(50);
            Interlocked.Add(ref used, HostClock.ThreadNanoseconds - start);
            return new VcpuStop(VcpuStopKind.Kicked);
        }).WithVcpus(2).WithCpuShare(new CpuShare(Cap: 0.2)).Build();
        var begun = Stopwatch.GetTimestamp();
        await vm.StartAsync();
        await TestMachine.UntilAsync(() => Volatile.Read(ref used) > 60_000_000);
        await vm.PauseAsync();
        var elapsed = Stopwatch.GetElapsedTime(begun).TotalNanoseconds;

        // One period's budget may be spent at once; each vCPU may overrun its slice until the kick gets through.
        Assert.True(used <= 0.2 * (elapsed + CapAccount.Period) + 40_000_000, $"{used} ns in {elapsed} ns");
    }

    [Fact(Timeout = Limit)]
    public async Task Cap_SpentAndPaused_PausesAtOnce()
    {
        await using var vm = TestMachine.Builder(v =>
        {
            while (!v.TakeKick()) Thread.SpinWait(50);
            return new VcpuStop(VcpuStopKind.Kicked);
        }).WithVcpus(3).WithCpuShare(new CpuShare(Cap: 0.01, Pool: new CpuPool(1))).Build();
        await vm.StartAsync();
        for (var i = 0; i < 20; i++)
        {
            await vm.PauseAsync();
            await vm.ResumeAsync();
        }
    }

    [Theory]
    [InlineData(0.0, 100, "CPU cap")]
    [InlineData(double.NaN, 100, "CPU cap")]
    [InlineData(-1.0, 100, "CPU cap")]
    [InlineData(1.0, 0, "CPU weight")]
    [InlineData(1.0, 10_001, "CPU weight")]
    public void Build_ShareOutOfRange_IsAProblem(double cap, int weight, string text)
    {
        var e = Assert.Throws<VmmConfigurationException>(TestMachine.Builder(FakeHypervisor.Busy()).WithCpuShare(new CpuShare(cap, weight)).Build);
        Assert.Contains(text, Assert.Single(e.Problems));
    }

    [Fact]
    public void Pool_WithoutCores_Throws() => Assert.Throws<ArgumentOutOfRangeException>(() => new CpuPool(0));
}
