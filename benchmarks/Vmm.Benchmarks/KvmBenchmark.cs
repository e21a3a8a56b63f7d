using System.Diagnostics;
using System.Globalization;
using Vmm.Backends.Kvm;

namespace Vmm.Benchmarks;

/// <summary>
/// The KVM backend beside a C program that does the same work with the same guest, in turns, so that what else the host does meets both. Told are
/// medians of the rounds and their ratio.
/// </summary>
internal sealed class KvmBenchmark : IDisposable
{
    private const int ExitsARound = 1000, SamplesARound = 101, Many = 100, Iterations = 10_000_000;
    private const double ExitBound = 1.10, LifeBound = 1.5, LoopBound = 1.05;

    private static readonly int Threads = Environment.ProcessorCount;

    private static readonly (string Title, int Mode)[] RoundTrips =
    [
        ("port write, kernel mode", KvmMachine.Ports), ("port write, user mode", KvmMachine.PortsUser),
        ("MMIO write, kernel mode", KvmMachine.Mmio), ("MMIO write, user mode", KvmMachine.MmioUser),
    ];

    private readonly KvmReference _reference = new();
    private readonly KvmHypervisor _hypervisor = new();
    private readonly List<ComparedRow> _rows = [];
    private int _rounds;

    private KvmBenchmark()
    {
    }

    /// <summary>Runs all of it.</summary>
    /// <param name="arguments">"runs=N": how many rounds, 31 if not said; "only=A,B": which parts, of exits, life, kick, interrupt, many, loop.</param>
    /// <returns>Whether all ratios are within their bounds.</returns>
    public static bool Run(string[] arguments)
    {
        using var benchmark = new KvmBenchmark();
        string? Said(string option) => arguments.FirstOrDefault(a => a.StartsWith(option, StringComparison.Ordinal))?[option.Length..];
        benchmark._rounds = int.Parse(Said("runs=") ?? "31", CultureInfo.InvariantCulture);
        var parts = (Said("only=") ?? "exits,life,kick,interrupt,many,loop").Split(',');
        if (benchmark._hypervisor.Probe() is { IsUsable: false } probe)
        {
            Console.WriteLine($"{probe.Detail} {probe.Fix}");
            return false;
        }

        Console.WriteLine($"KVM beside C: medians of {benchmark._rounds} rounds in microseconds. {benchmark._hypervisor.Probe().Detail}");
        foreach (var part in parts) benchmark.RunPart(part);
        return benchmark._rows.TrueForAll(r => r.IsWithin);
    }

    public void Dispose() => _reference.Dispose();

    private void RunPart(string part)
    {
        switch (part)
        {
            case "exits":
                foreach (var (title, mode) in RoundTrips) Exits(title, mode);
                break;
            case "life":
                Lives();
                break;
            case "kick":
                Pairs("kick of a busy guest (wall)", n => _reference.Ask("kick", 0, n)[0], Kicks);
                break;
            case "interrupt":
                Pairs("interrupt, guest in HLT (wall)", n => _reference.Ask("interrupt", KvmMachine.Halt, n)[0], n => Interrupts(KvmMachine.Halt, n));
                Pairs("interrupt, guest in user mode (wall)", n => _reference.Ask("interrupt", KvmMachine.Spin, n)[0], n => Interrupts(KvmMachine.Spin, n));
                break;
            case "many":
                ManyAtOnce();
                break;
            case "loop":
                Loop();
                break;
            default:
                throw new ArgumentException($"There is no part '{part}'; choose among exits, life, kick, interrupt, many, loop.");
        }
    }

    // What the runtime compiles anew after the first calls, it does in this time.
    private static void WarmUp(Action action)
    {
        for (var start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start) < TimeSpan.FromSeconds(1);) action();
    }

    private void Exits(string title, int mode)
    {
        using var machine = new KvmMachine(_hypervisor, _reference.Image, mode);
        WarmUp(() => machine.Exit(50));
        var row = new ComparedRow(title + " (CPU)", ExitBound);
        long allocated = 0;
        InTurns(() => row.Reference.Add(_reference.Ask("exits", mode, ExitsARound)[0]), () =>
        {
            var bytes = GC.GetAllocatedBytesForCurrentThread();
            var start = ProcessTime.ThreadNanoseconds();
            machine.Exit(ExitsARound);
            row.Ours.Add((ProcessTime.ThreadNanoseconds() - start) / (double)ExitsARound);
            allocated += GC.GetAllocatedBytesForCurrentThread() - bytes;
        });
        // The value that a run returns is of a few dozen bytes.
        Tell(row, $"; {allocated} bytes allocated in {_rounds * ExitsARound} exits");
    }

    private void Lives()
    {
        // The kernel locks every mapping of a process for a new VM, and a .NET process has many: in the second row the C program has as many.
        var mappings = File.ReadLines("/proc/self/maps").Count() - 25;
        ComparedRow createCpu = new("64 MiB VM to its first exit (CPU)", LifeBound), createWall = new("  (wall)", 0), createFilled = new($"  (CPU), {mappings} mappings more in C", 0);
        ComparedRow endCpu = new("its end (CPU)", LifeBound), endWall = new("  (wall)", 0);
        WarmUp(() => Live());
        var bytes = GC.GetAllocatedBytesForCurrentThread();
        Live();
        bytes = GC.GetAllocatedBytesForCurrentThread() - bytes;
        for (var i = 0; i < _rounds * 4; i++)
        {
            var (c, ours, filled) = (_reference.Ask("life", 0, 0), Live(), _reference.Ask("life", 0, mappings));
            createCpu.Add(c[0], ours[0]);
            createWall.Add(c[1], ours[1]);
            createFilled.Add(filled[0], ours[0]);
            endCpu.Add(c[2], ours[2]);
            endWall.Add(c[3], ours[3]);
        }

        Tell(createCpu, $"; {bytes} bytes allocated");
        foreach (var row in (ComparedRow[])[createFilled, createWall, endCpu, endWall]) Tell(row);
    }

    private double[] Live()
    {
        var (cpu0, wall0, cpu1, wall1) = (ProcessTime.ThreadNanoseconds(), Stopwatch.GetTimestamp(), 0L, 0L);
        var machine = new KvmMachine(_hypervisor, _reference.Image, KvmMachine.Ports) { Exited = () => (cpu1, wall1) = (ProcessTime.ThreadNanoseconds(), Stopwatch.GetTimestamp()) };
        machine.Exit(1);
        var (cpu2, wall2) = (ProcessTime.ThreadNanoseconds(), Stopwatch.GetTimestamp());
        machine.Dispose();
        return [cpu1 - cpu0, wall1 - wall0, ProcessTime.ThreadNanoseconds() - cpu2, Stopwatch.GetTimestamp() - wall2];
    }

    private void Pairs(string title, Func<int, double> reference, Func<int, double> ours)
    {
        var row = new ComparedRow(title, 0);
        InTurns(() => row.Reference.Add(reference(SamplesARound)), () => row.Ours.Add(ours(SamplesARound)));
        Tell(row);
    }

    // From the call that kicks to the return of the guest's run in its own thread.
    private double Kicks(int count)
    {
        using var machine = new KvmMachine(_hypervisor, _reference.Image, KvmMachine.Spin);
        var (turn, stopped) = (0, 0L);
        var thread = new Thread(() =>
        {
            while (true)
            {
                while (Volatile.Read(ref turn) == 0) Thread.SpinWait(1);
                if (Volatile.Read(ref turn) == 2) return;
                machine.Run();
                Volatile.Write(ref stopped, Stopwatch.GetTimestamp());
                Volatile.Write(ref turn, 0);
            }
        });
        thread.Start();
        var samples = new double[count];
        for (var i = 0; i < count; i++)
        {
            Volatile.Write(ref turn, 1);
            AwaitProgress(machine);
            var start = Stopwatch.GetTimestamp();
            machine.Kick();
            while (Volatile.Read(ref turn) != 0) Thread.SpinWait(1);
            samples[i] = Volatile.Read(ref stopped) - start;
        }

        Volatile.Write(ref turn, 2);
        thread.Join();
        return Median(samples);
    }

    // From the message to the service of the first exit of its handler in the guest.
    private double Interrupts(int mode, int count)
    {
        using var machine = new KvmMachine(_hypervisor, _reference.Image, mode);
        var thread = new Thread(machine.Run);
        thread.Start();
        var samples = new double[count];
        for (var i = 0; i < count; i++)
        {
            if (mode == KvmMachine.Halt)
            {
                while (machine.Halts <= i) Thread.SpinWait(1);
                for (var until = Stopwatch.GetTimestamp() + Stopwatch.Frequency / 10_000; Stopwatch.GetTimestamp() < until;) Thread.SpinWait(1);
            }
            else
            {
                AwaitProgress(machine);
            }

            Volatile.Write(ref machine.HandledAt, 0);
            var start = Stopwatch.GetTimestamp();
            machine.Interrupt();
            while (Volatile.Read(ref machine.HandledAt) == 0) Thread.SpinWait(1);
            samples[i] = Volatile.Read(ref machine.HandledAt) - start;
        }

        machine.Kick();
        thread.Join();
        return Median(samples);
    }

    private void ManyAtOnce()
    {
        ComparedRow create = new($"{Many} VMs at once, {Threads} threads (CPU)", LifeBound), createWall = new("  (wall)", 0), end = new("their end (CPU)", LifeBound), endWall = new("  (wall)", 0);
        LiveTogether();
        InTurns(() =>
        {
            var c = _reference.Ask("many", Threads, Many);
            create.Reference.Add(c[0]);
            createWall.Reference.Add(c[1]);
            end.Reference.Add(c[2]);
            endWall.Reference.Add(c[3]);
        }, () =>
        {
            var ours = LiveTogether();
            create.Ours.Add(ours[0]);
            createWall.Ours.Add(ours[1]);
            end.Ours.Add(ours[2]);
            endWall.Ours.Add(ours[3]);
        });
        foreach (var row in (ComparedRow[])[create, createWall, end, endWall]) Tell(row);
    }

    private double[] LiveTogether()
    {
        var machines = new KvmMachine[Many];
        using var all = new Barrier(Threads + 1);
        var threads = Enumerable.Range(0, Threads).Select(first => new Thread(() =>
        {
            all.SignalAndWait();
            for (var i = first; i < Many; i += Threads) (machines[i] = new KvmMachine(_hypervisor, _reference.Image, KvmMachine.Ports)).Exit(1);
            all.SignalAndWait();
            all.SignalAndWait();
            for (var i = first; i < Many; i += Threads) machines[i].Dispose();
            all.SignalAndWait();
        })).ToArray();
        foreach (var thread in threads) thread.Start();
        all.SignalAndWait();
        var (cpu0, wall0) = (ProcessTime.Seconds(Environment.ProcessId), Stopwatch.GetTimestamp());
        all.SignalAndWait();
        var (cpu1, wall1) = (ProcessTime.Seconds(Environment.ProcessId), Stopwatch.GetTimestamp());
        all.SignalAndWait();
        all.SignalAndWait();
        var (cpu2, wall2) = (ProcessTime.Seconds(Environment.ProcessId), Stopwatch.GetTimestamp());
        foreach (var thread in threads) thread.Join();
        return [(cpu1 - cpu0) * 1e9, wall1 - wall0, (cpu2 - cpu1) * 1e9, wall2 - wall1];
    }

    // The guest's loop in user mode, beside the same bytes called by the C program.
    private void Loop()
    {
        using var machine = new KvmMachine(_hypervisor, _reference.Image, KvmMachine.Compute, Iterations);
        var row = new ComparedRow("user-mode loop, host and guest (CPU)", LoopBound);
        uint expected = 0;
        for (var i = 0; i <= _rounds; i++)
        {
            var c = _reference.Ask("native", 0, Iterations);
            expected = (uint)c[1];
            var start = ProcessTime.ThreadNanoseconds();
            machine.Run();
            var ours = ProcessTime.ThreadNanoseconds() - start;
            if (machine.Result != expected) throw new InvalidOperationException($"The loop made {machine.Result} in the guest and {expected} on the host.");
            // The first one brings memory in.
            if (i > 0) row.Add(c[0], ours);
        }

        Tell(row, "; the results agree");
    }

    private void InTurns(Action reference, Action ours)
    {
        for (var i = 0; i < _rounds; i++)
        {
            // Neither side always comes first.
            if (i % 2 == 0) reference();
            ours();
            if (i % 2 == 1) reference();
        }
    }

    private void Tell(ComparedRow row, string note = "")
    {
        _rows.Add(row);
        Console.WriteLine(row + note);
    }

    private static void AwaitProgress(KvmMachine machine)
    {
        for (var seen = machine.Counter; machine.Counter == seen;) Thread.SpinWait(1);
    }

    private static double Median(double[] samples) => samples.Order().ElementAt(samples.Length / 2);
}
