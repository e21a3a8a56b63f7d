using Microsoft.Extensions.Time.Testing;
using Vmm.Core.Backends;
using Vmm.Core.Boards;
using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.Errors;
using Vmm.Core.State;
using Vmm.Core.X86;
using Vmm.TestSupport.Machines;

namespace Vmm.Core.Tests;

public class VirtualMachineLifecycleTests
{
    private const int Limit = 20_000;

    [Fact(Timeout = Limit)]
    public async Task Start_NewMachine_RunsItsVcpus()
    {
        var backend = FakeHypervisor.Busy();
        await using var vm = TestMachine.Builder(backend).WithVcpus(3).Build();
        Assert.Equal(MachineState.Created, vm.State);
        await vm.StartAsync();
        Assert.Equal(MachineState.Running, vm.State);
        await TestMachine.UntilAsync(() => backend.Partitions[0].Fakes.All(f => f.IsRunning));
        Assert.False(vm.Completion.IsCompleted);
    }

    [Fact(Timeout = Limit)]
    public async Task Start_Twice_Throws()
    {
        await using var vm = TestMachine.Builder(FakeHypervisor.Busy()).Build();
        await vm.StartAsync();
        var e = await Assert.ThrowsAsync<InvalidOperationException>(() => vm.StartAsync());
        Assert.Contains("is Running and cannot be started", e.Message);
    }

    [Fact(Timeout = Limit)]
    public async Task Start_Cancelled_LeavesTheMachineNew()
    {
        await using var vm = TestMachine.Builder(FakeHypervisor.Busy()).Build();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => vm.StartAsync(new CancellationToken(true)));
        Assert.Equal(MachineState.Created, vm.State);
        await vm.StartAsync();
    }

    [Fact(Timeout = Limit)]
    public async Task Pause_Running_BringsVcpusOutOfRunAndStopsTheClock()
    {
        var backend = FakeHypervisor.Busy();
        await using var vm = TestMachine.Builder(backend).WithVcpus(2).Build();
        await vm.StartAsync();
        await vm.PauseAsync();
        Assert.Equal(MachineState.Paused, vm.State);
        Assert.All(backend.Partitions[0].Fakes, f => Assert.False(f.IsRunning));
        var now = vm.Clock.Now;
        var runs = backend.Partitions[0].Fakes.Sum(f => f.Runs);
        await Task.Delay(5);
        Assert.Equal(now, vm.Clock.Now);
        Assert.Equal(runs, backend.Partitions[0].Fakes.Sum(f => f.Runs));
    }

    [Fact(Timeout = Limit)]
    public async Task Pause_WhilePaused_LetsStateBeReadAndSet()
    {
        var backend = FakeHypervisor.Busy();
        await using var vm = TestMachine.Builder(backend).Build();
        await vm.StartAsync();
        await vm.PauseAsync();
        var state = new VcpuState();
        vm.Partition.Vcpus[0].GetState(state);
        Assert.Equal(0x1000UL, state.Rip);
        state.Rip = 0x2000;
        vm.Partition.Vcpus[0].SetState(state);
        await vm.ResumeAsync();
        await TestMachine.UntilAsync(() => backend.Partitions[0].Fakes[0].IsRunning);
    }

    [Fact(Timeout = Limit)]
    public async Task Pause_Halted_WakesAndParksIt()
    {
        var backend = FakeHypervisor.Halted();
        await using var vm = TestMachine.Builder(backend).Build();
        await vm.StartAsync();
        await TestMachine.UntilAsync(() => backend.Partitions[0].Fakes[0].Runs > 0);
        await vm.PauseAsync();
        await vm.PauseAsync();
        await vm.ResumeAsync();
        await vm.ResumeAsync();
        Assert.Equal(MachineState.Running, vm.State);
    }

    [Fact(Timeout = Limit)]
    public async Task Pause_NotStarted_Throws()
    {
        await using var vm = TestMachine.Builder(FakeHypervisor.Busy()).Build();
        Assert.Contains("is Created and cannot be paused", (await Assert.ThrowsAsync<InvalidOperationException>(() => vm.PauseAsync())).Message);
        Assert.Contains("is Created and cannot be resumed", (await Assert.ThrowsAsync<InvalidOperationException>(() => vm.ResumeAsync())).Message);
    }

    [Fact(Timeout = Limit)]
    public async Task Pause_Ended_Throws()
    {
        await using var vm = TestMachine.Builder(static _ => new VcpuStop(VcpuStopKind.Shutdown)).Build();
        await vm.StartAsync();
        Assert.Equal(MachineExitKind.TripleFault, (await vm.Completion).Kind);
        Assert.Contains("has ended (TripleFault)", (await Assert.ThrowsAsync<InvalidOperationException>(() => vm.PauseAsync())).Message);
        Assert.Contains("has ended (TripleFault)", (await Assert.ThrowsAsync<InvalidOperationException>(() => vm.StartAsync())).Message);
    }

    [Fact(Timeout = Limit)]
    public async Task Pause_CancelledWhileAVcpuIsBusy_RunsOn()
    {
        using var entered = new ManualResetEventSlim();
        using var leave = new ManualResetEventSlim();
        var backend = new FakeHypervisor(vcpu =>
        {
            if (vcpu.Index == 0 && !leave.IsSet)
            {
                entered.Set();
                leave.Wait();
            }

            return vcpu.WaitForKick();
        });
        await using var vm = TestMachine.Builder(backend).WithVcpus(2).Build();
        await vm.StartAsync();
        entered.Wait();
        using var cancel = new CancellationTokenSource();
        var pause = vm.PauseAsync(cancel.Token);
        Assert.False(pause.IsCompleted);
        cancel.Cancel();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => pause);
        Assert.Equal(MachineState.Running, vm.State);
        await TestMachine.UntilAsync(() => backend.Partitions[0].Fakes[1].IsRunning);
        leave.Set();
        await vm.PauseAsync();
        await vm.ResumeAsync();
        await TestMachine.UntilAsync(() => backend.Partitions[0].Fakes.All(f => f.IsRunning));
    }

    [Fact(Timeout = Limit)]
    public async Task Pause_DuringInletDelivery_WaitsForIt()
    {
        using var entered = new ManualResetEventSlim();
        using var leave = new ManualResetEventSlim();
        var device = new NullDevice();
        Inlet<int>? inlet = null;
        await using var vm = TestMachine.Builder(FakeHypervisor.Busy()).AddPart(m => inlet = m.CreateInlet<int>(device, _ =>
        {
            entered.Set();
            leave.Wait();
        })).Build();
        await vm.StartAsync();
        var posting = Task.Run(() => inlet!.Post(1));
        entered.Wait();
        var pause = vm.PauseAsync();
        await TestMachine.UntilAsync(() => vm.State == MachineState.Paused);
        Assert.False(pause.IsCompleted);
        leave.Set();
        await pause;
        await posting;
    }

    [Fact(Timeout = Limit)]
    public async Task Halted_Interrupted_RunsAgain()
    {
        var interrupts = 0;
        var backend = new FakeHypervisor(vcpu =>
        {
            if (vcpu.TakeInterrupt()) Interlocked.Increment(ref interrupts);
            return new VcpuStop(VcpuStopKind.Halted);
        });
        await using var vm = TestMachine.Builder(backend).Build();
        await vm.StartAsync();
        var vcpu = backend.Partitions[0].Fakes[0];
        for (var i = 1; i <= 1000; i++)
        {
            vcpu.Interrupt();
            while (Volatile.Read(ref interrupts) < i) await Task.Yield();
        }
    }

    [Fact(Timeout = Limit)]
    public async Task Halted_NotInterrupted_DoesNotRun()
    {
        var backend = FakeHypervisor.Halted();
        await using var vm = TestMachine.Builder(backend).Build();
        await vm.StartAsync();
        await TestMachine.UntilAsync(() => backend.Partitions[0].Fakes[0].Runs > 0);
        await Task.Delay(20);
        Assert.InRange(backend.Partitions[0].Fakes[0].Runs, 1, 2);
    }

    [Fact(Timeout = Limit)]
    public async Task Stop_WithPowerButton_ReturnsTheGuestsPowerOff()
    {
        var board = new FakeBoard { PowerButton = m => m.End(new MachineExit(MachineExitKind.PoweredOff)) };
        await using var vm = TestMachine.Builder(FakeHypervisor.Busy(), board).Build();
        await vm.StartAsync();
        Assert.Equal(MachineExitKind.PoweredOff, (await vm.StopAsync(Timeout.InfiniteTimeSpan)).Kind);
        Assert.Equal(MachineExitKind.PoweredOff, (await vm.StopAsync(TimeSpan.Zero)).Kind);
    }

    [Fact(Timeout = Limit)]
    public async Task Stop_Paused_ResumesSoThatTheGuestCanReact()
    {
        var board = new FakeBoard { PowerButton = m => m.Partition.Vcpus[0].InjectNmi() };
        MachineContext? context = null;
        var backend = new FakeHypervisor(v =>
        {
            if (v.TakeInterrupt()) context!.End(new MachineExit(MachineExitKind.PoweredOff));
            return new VcpuStop(VcpuStopKind.Halted);
        });
        await using var vm = TestMachine.Builder(backend, board).AddPart(m => context = m).Build();
        await vm.StartAsync();
        await vm.PauseAsync();
        Assert.Equal(MachineExitKind.PoweredOff, (await vm.StopAsync(Timeout.InfiniteTimeSpan)).Kind);
    }

    [Fact(Timeout = Limit)]
    public async Task Stop_GuestDoesNotReact_KillsAfterTheTimeout()
    {
        var time = new FakeTimeProvider();
        var presses = 0;
        await using var vm = TestMachine.Builder(FakeHypervisor.Busy(), new FakeBoard { PowerButton = _ => presses++ }).WithTimeProvider(time).Build();
        await vm.StartAsync();
        var stop = vm.StopAsync(TimeSpan.FromSeconds(10));
        time.Advance(TimeSpan.FromSeconds(9));
        Assert.False(stop.IsCompleted);
        time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(MachineExitKind.Killed, (await stop).Kind);
        Assert.Equal(1, presses);
    }

    [Fact(Timeout = Limit)]
    public async Task Stop_Cancelled_LetsTheGuestRunOn()
    {
        await using var vm = TestMachine.Builder(FakeHypervisor.Busy(), new FakeBoard { PowerButton = _ => { } }).Build();
        await vm.StartAsync();
        using var cancel = new CancellationTokenSource();
        var stop = vm.StopAsync(Timeout.InfiniteTimeSpan, cancel.Token);
        cancel.Cancel();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => stop);
        Assert.Equal(MachineState.Running, vm.State);
    }

    [Theory(Timeout = Limit)]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Stop_NoButtonOrNotStarted_Kills(bool start)
    {
        await using var vm = TestMachine.Builder(FakeHypervisor.Busy()).Build();
        if (start) await vm.StartAsync();
        Assert.Equal(MachineExitKind.Killed, (await vm.StopAsync(Timeout.InfiniteTimeSpan)).Kind);
        Assert.Equal(MachineState.Ended, vm.State);
    }

    [Fact(Timeout = Limit)]
    public async Task Kill_Paused_Completes()
    {
        await using var vm = TestMachine.Builder(FakeHypervisor.Busy()).WithVcpus(2).Build();
        await vm.StartAsync();
        await vm.PauseAsync();
        Assert.Equal(MachineExitKind.Killed, (await vm.KillAsync()).Kind);
        Assert.Equal(MachineExitKind.Killed, (await vm.KillAsync()).Kind);
    }

    [Fact(Timeout = Limit)]
    public async Task End_Twice_FirstCounts()
    {
        await using var vm = TestMachine.Builder(FakeHypervisor.Busy()).Build();
        await vm.StartAsync();
        vm.Context.End(new MachineExit(MachineExitKind.DebugExit, 7));
        vm.Context.End(new MachineExit(MachineExitKind.PoweredOff));
        Assert.Equal(new MachineExit(MachineExitKind.DebugExit, 7), await vm.Completion);
    }

    [Fact(Timeout = Limit)]
    public async Task DeviceCode_Throws_MachineFails()
    {
        var boom = new NotSupportedException("boom");
        await using var vm = TestMachine.Builder(vcpu =>
        {
            vcpu.Bus.Ports.Write(0x10, 1, 0);
            return vcpu.WaitForKick();
        }).AddPart(m => m.Bus.Ports.Map(0x10, 1, new Throws(boom))).Build();
        await vm.StartAsync();
        var exit = await vm.Completion;
        Assert.Equal(MachineExitKind.Failed, exit.Kind);
        Assert.Same(boom, exit.Error);
    }

    [Fact(Timeout = Limit)]
    public async Task TimerCallback_Throws_MachineFails()
    {
        var boom = new NotSupportedException("boom");
        await using var vm = TestMachine.Builder(FakeHypervisor.Halted()).AddPart(m => m.Clock.CreateTimer(new object(), () => throw boom).Arm(1)).Build();
        await vm.StartAsync();
        Assert.Same(boom, (await vm.Completion).Error);
    }

    [Fact(Timeout = Limit)]
    public async Task InletDelivery_Throws_MachineFails()
    {
        var boom = new NotSupportedException("boom");
        Inlet<int>? inlet = null;
        await using var vm = TestMachine.Builder(FakeHypervisor.Halted()).AddPart(m => inlet = m.CreateInlet<int>(new NullDevice(), _ => throw boom)).Build();
        await vm.StartAsync();
        inlet!.Post(1);
        Assert.Same(boom, (await vm.Completion).Error);
    }

    [Fact(Timeout = Limit)]
    public async Task Backend_Fails_MachineFailsWithItsReason()
    {
        await using var vm = TestMachine.Builder(static _ => new VcpuStop(VcpuStopKind.Failed, "entry failed 0x80000021")).Build();
        await vm.StartAsync();
        var exit = await vm.Completion;
        Assert.Equal(MachineExitKind.Failed, exit.Kind);
        Assert.Contains("entry failed 0x80000021", Assert.IsType<HypervisorException>(exit.Error).Message);
    }

    [Fact(Timeout = Limit)]
    public async Task Dispose_Running_FreesAllAndSaysKilled()
    {
        var backend = FakeHypervisor.Busy();
        var device = new NullDevice();
        var vm = TestMachine.Builder(backend).WithVcpus(2).AddPart(m => m.AddDevice("d", device)).Build();
        await vm.StartAsync();
        vm.Dispose();
        Assert.Equal(MachineState.Disposed, vm.State);
        Assert.Equal(MachineExitKind.Killed, (await vm.Completion).Kind);
        Assert.True(backend.Partitions[0].IsDisposed);
        Assert.Equal(1, device.Disposals);
        Assert.Equal(0, vm.Memory.Regions[0].HostAddress);
        vm.Dispose();
        await vm.DisposeAsync();
        Assert.Equal(1, device.Disposals);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => vm.StartAsync());
        await Assert.ThrowsAsync<ObjectDisposedException>(() => vm.PauseAsync());
        await Assert.ThrowsAsync<ObjectDisposedException>(() => vm.StopAsync(TimeSpan.Zero));
    }

    [Fact(Timeout = Limit)]
    public async Task Dispose_FromDeviceCode_FreesAfterTheCallback()
    {
        VirtualMachine? vm = null;
        var backend = new FakeHypervisor(vcpu =>
        {
            vcpu.Bus.Ports.Write(0x10, 1, 0);
            return new VcpuStop(VcpuStopKind.Halted);
        });
        vm = TestMachine.Builder(backend).AddPart(m => m.Bus.Ports.Map(0x10, 1, new Calls(() =>
        {
            vm!.Dispose();
            Assert.False(backend.Partitions[0].IsDisposed);
        }))).Build();
        await vm.StartAsync();
        Assert.Equal(MachineExitKind.Killed, (await vm.Completion).Kind);
        await vm.DisposeAsync();
        Assert.True(backend.Partitions[0].IsDisposed);
    }

    [Fact(Timeout = Limit)]
    public async Task Dispose_FromTimerAndInlet_FreesAfterTheCallback()
    {
        foreach (var byTimer in new[] { true, false })
        {
            VirtualMachine? vm = null;
            Inlet<int>? inlet = null;
            var device = new NullDevice();
            var backend = FakeHypervisor.Busy();
            vm = TestMachine.Builder(backend).AddPart(m =>
            {
                if (byTimer) m.Clock.CreateTimer(device, () => vm!.Dispose()).Arm(1);
                inlet = m.CreateInlet<int>(device, _ => vm!.Dispose());
            }).Build();
            await vm.StartAsync();
            if (!byTimer) inlet!.Post(0);
            await vm.Completion;
            await vm.DisposeAsync();
            Assert.True(backend.Partitions[0].IsDisposed);
        }
    }

    [Fact(Timeout = Limit)]
    public async Task Dispose_FromManyThreads_AllReturnAfterItIsFree()
    {
        for (var round = 0; round < 50; round++)
        {
            var backend = FakeHypervisor.Busy();
            var vm = TestMachine.Builder(backend).Build();
            await vm.StartAsync();
            await Task.WhenAll(Enumerable.Range(0, 4).Select(i => Task.Run(async () =>
            {
                if (i % 2 == 0) vm.Dispose();
                else await vm.DisposeAsync();
                Assert.True(backend.Partitions[0].IsDisposed);
            })));
        }
    }

    [Fact]
    public async Task Dispose_NeverStarted_Frees()
    {
        var backend = FakeHypervisor.Busy();
        var vm = TestMachine.Builder(backend).Build();
        vm.Dispose();
        Assert.True(backend.Partitions[0].IsDisposed);
        Assert.Equal(MachineExitKind.Killed, (await vm.Completion).Kind);
    }

    [Fact]
    public void Dispose_DeviceThrows_FreesTheRest()
    {
        var backend = FakeHypervisor.Busy();
        var other = new NullDevice();
        var vm = TestMachine.Builder(backend).AddPart(m =>
        {
            m.AddDevice("good", other);
            m.AddDevice("bad", new NullDevice { OnDispose = () => throw new IOException("no") });
        }).Build();
        vm.Dispose();
        Assert.Equal(1, other.Disposals);
        Assert.True(backend.Partitions[0].IsDisposed);
    }

    [Fact]
    public void Build_PartThrows_FreesWhatWasMade()
    {
        var backend = FakeHypervisor.Busy();
        var device = new NullDevice();
        var builder = TestMachine.Builder(backend).AddPart(m => m.AddDevice("d", device)).AddPart(_ => throw new IOException("no"));
        Assert.Throws<IOException>(builder.Build);
        Assert.Equal(1, device.Disposals);
        Assert.True(backend.Partitions[0].IsDisposed);
    }

    [Fact]
    public void Build_BackendRefuses_PassesItsException() =>
        Assert.Throws<HypervisorException>(TestMachine.Builder(new FakeHypervisor(v => v.WaitForKick()) { Refusal = new HypervisorException("KVM_CREATE_VM", 12, "no memory") }).Build);

    private sealed class Throws(Exception e) : IIoHandler
    {
        public ulong Read(uint offset, int size) => throw e;

        public void Write(uint offset, int size, ulong value) => throw e;
    }

    private sealed class Calls(Action action) : IIoHandler
    {
        public ulong Read(uint offset, int size) => 0;

        public void Write(uint offset, int size, ulong value) => action();
    }

    private sealed class NullDevice : IDevice, IDisposable
    {
        public int Disposals { get; private set; }

        public Action? OnDispose { get; init; }

        public void Reset() { }

        public void VisitState(StateVisitor visitor) { }

        public void Dispose()
        {
            Disposals++;
            OnDispose?.Invoke();
        }
    }
}
