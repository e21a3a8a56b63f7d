using System.Diagnostics;
using Vmm.Backends.Software;
using Vmm.Core.Backends;
using Vmm.Core.Boot;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.Time;
using Vmm.Core.X86;

namespace Vmm.Benchmarks;

/// <summary>Runs one bare program on the interpreter and tells instructions a second of CPU time, median of five.</summary>
internal static class LoopBenchmark
{
    private const int Runs = 5;

    public static void Run(string name, byte[] program)
    {
        var rates = new List<double>();
        double instructions = 0;
        for (var i = 0; i < Runs; i++)
        {
            (instructions, var seconds) = RunOnce(program);
            rates.Add(instructions / seconds / 1e6);
        }

        rates.Sort();
        Console.WriteLine($"{name,-14} {rates[Runs / 2],8:F1} MIPS (median of {Runs}, {rates[0]:F1} to {rates[^1]:F1}; {instructions / 1e6:F0} M instructions a run)");
    }

    private static (double Instructions, double Seconds) RunOnce(byte[] program)
    {
        var memory = new GuestMemory();
        using var ram = MemoryRegion.Allocate("ram", 0, 16 << 20);
        memory.Add(ram);
        using var clock = new VmClock(TimeProvider.System);
        using var partition = new SoftwareHypervisor { Engine = CpuEngine.Interpret }.CreatePartition(new PartitionOptions { Bus = new SystemBus(memory), Clock = clock });
        var state = new VcpuState();
        new ProgramBoot(program).Load(new BootContext(memory, [new MemoryMapEntry(0, 16 << 20, MemoryMapType.Ram)], 0, 1, ""), state);
        var vcpu = partition.Vcpus[0];
        vcpu.SetState(state);
        using var process = Process.GetCurrentProcess();
        var before = process.TotalProcessorTime;
        var stop = vcpu.Run();
        if (stop.Kind != VcpuStopKind.Halted) throw new InvalidOperationException($"The guest ended by {stop}.");
        process.Refresh();
        return (vcpu.InstructionsRetired, (process.TotalProcessorTime - before).TotalSeconds);
    }
}
