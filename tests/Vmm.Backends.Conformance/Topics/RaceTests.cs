using FsCheck;
using FsCheck.Fluent;
using Vmm.Backends.Conformance.Guests;
using Vmm.Core;
using Vmm.TestSupport.Machines;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Conformance.Topics;

/// <summary>
/// Whole machines under random sequences of pause, resume, kick and dispose from several threads: no kick is lost, nothing hangs, nothing
/// runs on while paused. VMM_RACES is the number of sequences.
/// </summary>
public abstract class RaceTests<TBackend> : Conformance<TBackend> where TBackend : BackendUnderTest, new()
{
    private static readonly int s_sequences = int.TryParse(Environment.GetEnvironmentVariable("VMM_RACES"), out var n) ? n : 100;

    [Fact]
    public void RandomSequences_NeverHang()
    {
        // Pause and resume most often; the end of the machine now and then, in the middle as well.
        var step = Gen.Frequency((4, Gen.Constant(RaceStep.Pause)), (4, Gen.Constant(RaceStep.Resume)), (2, Gen.Constant(RaceStep.Kick)), (1, Gen.Constant(RaceStep.PauseCancelled)),
            (1, Gen.Constant(RaceStep.Statistics)), (1, Gen.Constant(RaceStep.Yield)), (1, Gen.Constant(RaceStep.Progress)),
            (1, Gen.Elements(RaceStep.Kill, RaceStep.Dispose, RaceStep.Yield, RaceStep.Yield)));
        var steps = Gen.Choose(0, 6).SelectMany(n => step.ArrayOf(n));
        var sequences = from work in Gen.Elements(Enum.GetValues<GuestWork>())
                        from vcpus in Gen.Choose(1, 2)
                        from first in steps
                        from second in steps
                        from wait in Gen.Elements(true, false)
                        select new RaceSequence(work, vcpus, first, second, wait);
        var property = Prop.ForAll(sequences.ToArbitrary(), s =>
        {
            Run(s);
            return true;
        });
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(s_sequences), property);
    }

    [Theory, InlineData(GuestWork.KernelLoop), InlineData(GuestWork.UserLoop), InlineData(GuestWork.PortExits), InlineData(GuestWork.HaltsForEver)]
    public void Dispose_WhileRunning_EndsIt(GuestWork work)
    {
        for (var i = 0; i < 20; i++)
        {
            using var guest = new CountedMachine(Backend, work, 2);
            Wait(guest.Machine.StartAsync());
            if (i % 2 == 0 && work != GuestWork.HaltsForEver) guest.AwaitProgress();
            guest.Machine.Dispose();
            Assert.Equal(MachineExitKind.Killed, Wait(guest.Machine.Completion).Kind);
        }
    }

    [Fact]
    public void PausedMachine_StandsStill_AndGoesOnAfterwards()
    {
        using var guest = new CountedMachine(Backend, GuestWork.KernelLoop, 1);
        Wait(guest.Machine.StartAsync());
        for (var i = 0; i < 50; i++)
        {
            guest.AwaitProgress();
            Wait(guest.Machine.PauseAsync());
            var before = guest.Count;
            Thread.Yield();
            Assert.Equal(before, guest.Count);
            Wait(guest.Machine.ResumeAsync());
        }
    }

    [Fact]
    public void CancelledPause_LeavesTheMachineRunning()
    {
        using var guest = new CountedMachine(Backend, GuestWork.KernelLoop, 1);
        Wait(guest.Machine.StartAsync());
        for (var i = 0; i < 50; i++)
        {
            using var cancel = new CancellationTokenSource();
            var pause = guest.Machine.PauseAsync(cancel.Token);
            cancel.Cancel();
            try
            {
                Wait(pause);
                Wait(guest.Machine.ResumeAsync());
            }
            catch (OperationCanceledException)
            {
                // It came too late to be paused.
            }

            guest.AwaitProgress();
        }
    }

    [Fact]
    public void TripleFault_EndsTheMachine()
    {
        using var vm = new VirtualMachineBuilder().WithBackend(Backend.Create()).WithBoard(() => new FakeBoard()).WithMemory(GuestTables.RamSize).WithCpuModel(Backend.Model)
            .WithBootLoader(new ProgramLoader(a => { a.lidt(__[GuestTables.Data]); a.ud2(); }, user: false)).Build();
        Wait(vm.StartAsync());
        var exit = Wait(vm.Completion);
        Assert.True(exit.Kind == MachineExitKind.TripleFault, $"{exit}");
    }

    private void Run(RaceSequence sequence)
    {
        using var guest = new CountedMachine(Backend, sequence.Work, sequence.Vcpus);
        Background<int>[] actors = [new(() => Act(guest, sequence.First)), new(() => Act(guest, sequence.Second))];
        Ignore(() => Wait(guest.Machine.StartAsync()));
        if (sequence.WaitBeforeEnd) _ = actors[0].Result + actors[1].Result;
        guest.Machine.Dispose();
        _ = actors[0].Result + actors[1].Result;
        var exit = Wait(guest.Machine.Completion);
        Assert.True(exit.Kind == MachineExitKind.Killed, $"{exit}");
    }

    private static int Act(CountedMachine guest, RaceStep[] steps)
    {
        foreach (var step in steps) Ignore(() => Act(guest, step));
        return steps.Length;
    }

    private static void Act(CountedMachine guest, RaceStep step)
    {
        var vm = guest.Machine;
        switch (step)
        {
            case RaceStep.Pause:
                Wait(vm.PauseAsync());
                break;
            case RaceStep.Resume:
                Wait(vm.ResumeAsync());
                break;
            case RaceStep.Kick:
                // A pause that is given up at once kicks all vCPUs and leaves them running.
                using (var given = new CancellationTokenSource(TimeSpan.FromTicks(1))) Wait(vm.PauseAsync(given.Token));
                break;
            case RaceStep.PauseCancelled:
                using (var cancel = new CancellationTokenSource())
                {
                    var pause = vm.PauseAsync(cancel.Token);
                    cancel.Cancel();
                    Wait(pause);
                }

                break;
            case RaceStep.Statistics:
                _ = vm.Statistics;
                break;
            case RaceStep.Progress:
                if (guest.Work != GuestWork.HaltsForEver) guest.AwaitProgress();
                break;
            case RaceStep.Kill:
                Wait(vm.KillAsync());
                break;
            case RaceStep.Dispose:
                vm.Dispose();
                break;
            default:
                Thread.Yield();
                break;
        }
    }

    // The wrong moment for a step (not started yet, ended, disposed) is no error here, and neither is a pause that was cancelled.
    private static void Ignore(Action step)
    {
        try
        {
            step();
        }
        catch (Exception e) when (e is InvalidOperationException or OperationCanceledException)
        {
        }
    }

    private static void Wait(Task task)
    {
        if (!task.IsCompleted && Task.WaitAny([task], TestGuest.Patience) < 0) throw new TimeoutException("The machine hangs.");
        task.GetAwaiter().GetResult();
    }

    private static T Wait<T>(Task<T> task)
    {
        Wait((Task)task);
        return task.Result;
    }
}
