using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Execution;
using Vmm.TestSupport.Machines;

namespace Vmm.Core.Tests.Execution;

public class RunLoopTests
{
    [Theory(Timeout = 60_000)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Loop_ManyStopsAndExits_AllocatesNothing(bool shared)
    {
        // The script returns after each exit, so that the whole outer loop is in the measurement.
        const int Warm = 5_000, Turns = 100_000;
        long allocated = -1, before = 0;
        var turns = 0;
        var stopped = new VcpuStop(VcpuStopKind.Kicked);
        var backend = new FakeHypervisor(v =>
        {
            if (turns == Warm) before = GC.GetAllocatedBytesForCurrentThread();
            v.Bus.Ports.Write(0x3F8, 1, 0x41);
            if (++turns != Warm + Turns) return stopped;
            allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            return new VcpuStop(VcpuStopKind.Shutdown);
        });
        var builder = TestMachine.Builder(backend).AddPart(m => m.Bus.Ports.Map(0x3F8, 8, new Sink()));
        await using var vm = (shared ? builder.WithCpuShare(new CpuShare(Cap: 1_000, Pool: new CpuPool(1))) : builder).Build();
        await vm.StartAsync();
        Assert.Equal(MachineExitKind.TripleFault, (await vm.Completion).Kind);

        // Some bytes may come from the runtime itself (tiering, a timer's queue); none per turn.
        Assert.InRange(allocated, 0, Turns / 10);
    }

    [Fact(Timeout = 20_000)]
    public async Task Debug_Stop_IsToldOutsideRunAndTheVcpuGoesOn()
    {
        var steps = 0;
        var backend = new FakeHypervisor(v => ++steps < 4 ? new VcpuStop(VcpuStopKind.Debug) : new VcpuStop(VcpuStopKind.Shutdown));
        await using var vm = TestMachine.Builder(backend).Build();
        var told = 0;
        vm.DebugStopped = v =>
        {
            Assert.False(((FakeVcpu)v).IsRunning);
            told++;
        };
        await vm.StartAsync();
        await vm.Completion;
        Assert.Equal(3, told);
    }

    [Fact(Timeout = 20_000)]
    public async Task UnknownStop_FailsTheMachine()
    {
        await using var vm = TestMachine.Builder(static _ => new VcpuStop((VcpuStopKind)99)).Build();
        await vm.StartAsync();
        Assert.Contains("99", (await vm.Completion).Error!.Message);
    }

    [Fact(Timeout = 20_000)]
    public async Task OneVcpuEnds_TheOthersComeOut()
    {
        var backend = new FakeHypervisor(v => v.Index == 2 ? new VcpuStop(VcpuStopKind.Shutdown) : v.Index == 1 ? new VcpuStop(VcpuStopKind.Halted) : v.WaitForKick());
        await using var vm = TestMachine.Builder(backend).WithVcpus(3).Build();
        await vm.StartAsync();
        await vm.Completion;
        Assert.All(backend.Partitions[0].Fakes, f => Assert.False(f.IsRunning));
        Assert.Equal(MachineState.Ended, vm.State);
    }

    [Fact(Timeout = 60_000)]
    public async Task ManyMachines_LiveAtOnce()
    {
        var machines = Enumerable.Range(0, 200).Select(_ => TestMachine.Builder(FakeHypervisor.Halted()).Build()).ToArray();
        foreach (var vm in machines) await vm.StartAsync();
        await Task.WhenAll(machines.Select(vm => vm.PauseAsync()));
        await Task.WhenAll(machines.Select(vm => vm.ResumeAsync()));
        await Task.WhenAll(machines.Select(vm => vm.DisposeAsync().AsTask()));
        Assert.All(machines, vm => Assert.Equal(MachineState.Disposed, vm.State));
    }

    private sealed class Sink : IIoHandler
    {
        public ulong Read(uint offset, int size) => 0;

        public void Write(uint offset, int size, ulong value) { }
    }
}
