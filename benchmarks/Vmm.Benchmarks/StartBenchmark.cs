using System.Diagnostics;
using System.Globalization;
using Vmm.Backends.Software;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.Time;
using Vmm.Core.X86;

namespace Vmm.Benchmarks;

/// <summary>
/// From nothing to the end of a guest of two instructions on the software CPU, in a process that has done so before, beside a C program that maps as
/// much memory, puts two instructions into it and calls them; in turns, so that what else the host does meets both. Guests of one size find the memory
/// that the one before them left; with a size of its own each has to map and fault as the C program does.
/// </summary>
internal static class StartBenchmark
{
    private const int Base = 0x10000, StartsARound = 100, MostSizes = 1000;
    private const ulong Bytes = 16 << 20;
    private const double Bound = 1.5;

    // What the runtime compiles anew after many calls, it does in this time.
    private static readonly TimeSpan s_warmUp = TimeSpan.FromSeconds(3);

    /// <summary>Runs it.</summary>
    /// <param name="arguments">"runs=N": how many rounds, 31 if not said.</param>
    /// <returns>Whether all ratios are within their bound.</returns>
    public static bool Run(string[] arguments)
    {
        var rounds = int.Parse(arguments.FirstOrDefault(a => a.StartsWith("runs=", StringComparison.Ordinal))?[5..] ?? "31", CultureInfo.InvariantCulture);
        using var reference = new CProgram(Path.Combine(SourceTree.Folder("start"), "start.c"));
        var rows = new List<ComparedRow>();
        foreach (var (engine, sizes) in ((CpuEngine, int)[])[(CpuEngine.Translate, 1), (CpuEngine.Interpret, 1), (CpuEngine.Translate, MostSizes), (CpuEngine.Interpret, MostSizes)])
        {
            var count = 0;
            (double Halt, double End) StartNext() => Start(engine, Bytes + (ulong)(count++ % sizes) * MemoryRegion.PageSize);
            for (var start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start) < s_warmUp;) StartNext();
            ComparedRow begin = new($"start to the first HLT, {engine}{(sizes == 1 ? "" : ", new memory")} (CPU)", sizes == 1 ? Bound : 0), end = new("  its end", 0);
            for (var i = 0; i < rounds; i++)
            {
                var c = reference.Ask($"{StartsARound}");
                var (toHalt, toEnd) = (0.0, 0.0);
                for (var n = 0; n < StartsARound; n++)
                {
                    var (halt, gone) = StartNext();
                    (toHalt, toEnd) = (toHalt + halt, toEnd + gone);
                }

                begin.Add(c[0], toHalt / StartsARound);
                end.Add(c[1], toEnd / StartsARound);
            }

            rows.Add(begin);
            Console.WriteLine(begin);
            Console.WriteLine(end);
        }

        return rows.TrueForAll(r => r.IsWithin);
    }

    // Nanoseconds of CPU time until the guest has halted, and from then until all is given back.
    private static (double Halt, double End) Start(CpuEngine engine, ulong bytes)
    {
        var start = ProcessTime.ThreadNanoseconds();
        var memory = new GuestMemory();
        var ram = MemoryRegion.Allocate("ram", 0, bytes);
        memory.Add(ram);
        memory.TryWrite(Base, (ReadOnlySpan<byte>)[0xB8, 42, 0, 0, 0, 0xF4]); // mov eax, 42; hlt
        var clock = new VmClock(TimeProvider.System);
        var partition = new SoftwareHypervisor { Engine = engine }.CreatePartition(new PartitionOptions { Bus = new SystemBus(memory), Clock = clock });
        var state = new VcpuState { Rip = Base, Rflags = 2, Cr0 = 0x33 };
        state.Segments.AsSpan().Fill(SegmentState.Data32(16));
        state.Segments[1] = SegmentState.Code32(8);
        partition.Vcpus[0].SetState(state);
        var stop = partition.Vcpus[0].Run();
        var halted = ProcessTime.ThreadNanoseconds();
        if (stop.Kind != VcpuStopKind.Halted) throw new InvalidOperationException($"The guest ended by {stop}.");
        partition.Dispose();
        clock.Dispose();
        ram.Dispose();
        return (halted - start, ProcessTime.ThreadNanoseconds() - halted);
    }
}
