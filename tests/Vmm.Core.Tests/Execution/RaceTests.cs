using Vmm.Core.Backends;
using Vmm.TestSupport.Machines;

namespace Vmm.Core.Tests.Execution;

public class RaceTests
{
    [Theory(Timeout = 120_000)]
    [InlineData(1)]
    [InlineData(2)]
    public async Task RandomSequences_NeverHangNorBreakTheContract(int vcpus)
    {
        var sequences = int.TryParse(Environment.GetEnvironmentVariable("VMM_RACES"), out var n) ? n : 5_000;
        for (var seed = 0; seed < sequences; seed++) await Sequence(seed * 31 + vcpus, vcpus);
    }

    private static async Task Sequence(int seed, int vcpus)
    {
        var random = new Random(seed);
        var halting = random.Next(2) == 0;
        var backend = new FakeHypervisor(v => halting ? new VcpuStop(VcpuStopKind.Halted) : v.WaitForKick());
        var vm = TestMachine.Builder(backend).WithVcpus(vcpus).Build();
        var actors = Enumerable.Range(0, random.Next(1, 3)).Select(_ => Act(vm, backend, random.Next(), random.Next(1, 5))).ToArray();
        try
        {
            await vm.StartAsync();
        }
        catch (InvalidOperationException) when (vm.State == MachineState.Ended)
        {
            // An actor has killed it already.
        }

        if (random.Next(2) == 0) await Task.WhenAll(actors);
        if (random.Next(2) == 0) vm.Dispose();
        else await vm.DisposeAsync();
        await Task.WhenAll(actors);
        var exit = await vm.Completion;
        Assert.True(exit.Kind == MachineExitKind.Killed, exit.Error?.ToString());
        Assert.True(backend.Partitions[0].IsDisposed);
    }

    private static Task Act(VirtualMachine vm, FakeHypervisor backend, int seed, int steps) => Task.Run(async () =>
    {
        var random = new Random(seed);
        for (var i = 0; i < steps; i++)
        {
            try
            {
                switch (random.Next(8))
                {
                    case 0 or 1: await vm.PauseAsync(); break;
                    case 2 or 3: await vm.ResumeAsync(); break;
                    case 4: vm.Kick(); break;
                    case 5:
                        using (var cancel = new CancellationTokenSource())
                        {
                            var pause = vm.PauseAsync(cancel.Token);
                            cancel.Cancel();
                            await pause;
                        }

                        break;
                    case 6: await Task.Yield(); break;
                    case 7 when random.Next(4) == 0: await vm.KillAsync(); break;
                }
            }
            catch (InvalidOperationException e) when (!e.Message.Contains("Run", StringComparison.Ordinal) || e.Message.Contains("Running", StringComparison.Ordinal))
            {
                // The wrong moment for it: not started yet, ended, or disposed.
            }
            catch (OperationCanceledException)
            {
                // As asked for.
            }
        }

        _ = backend;
    });
}
