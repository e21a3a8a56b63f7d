using System.Diagnostics;
using Vmm.Backends.Software;
using Vmm.Benchmarks;
using Vmm.Core.Backends;
using Vmm.Core.Boot;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.Time;
using Vmm.Core.X86;

var only = args.Length > 0 ? args[0] : "";
foreach (var (name, program) in new (string, byte[])[]
{
    ("integer loop", GuestLoops.Integer(20_000_000)),
    ("memory loop", GuestLoops.Memory(30_000_000)),
    ("SSE2 loop", GuestLoops.Sse(10_000_000)),
})
{
    if (!name.Contains(only, StringComparison.Ordinal)) continue;
    var (instructions, seconds) = RunProgram(program);
    Console.WriteLine($"{name,-14} {instructions / seconds / 1e6,8:F1} MIPS  ({instructions / 1e6:F0} M instructions in {seconds:F2} s of CPU time)");
}

static (double Instructions, double Seconds) RunProgram(byte[] program)
{
    var memory = new GuestMemory();
    using var ram = MemoryRegion.Allocate("ram", 0, 16 << 20);
    memory.Add(ram);
    using var clock = new VmClock(TimeProvider.System);
    using var partition = new SoftwareHypervisor().CreatePartition(new PartitionOptions { Bus = new SystemBus(memory), Clock = clock });
    var state = new VcpuState();
    new ProgramBoot(program).Load(new BootContext(memory, [new MemoryMapEntry(0, 16 << 20, MemoryMapType.Ram)], 0, 1, ""), state);
    var vcpu = partition.Vcpus[0];
    vcpu.SetState(state);
    var watch = Stopwatch.StartNew();
    var before = vcpu.InstructionsRetired;
    var stop = vcpu.Run();
    if (stop.Kind != VcpuStopKind.Halted) throw new InvalidOperationException($"The guest ended by {stop}.");
    return (vcpu.InstructionsRetired - before, watch.Elapsed.TotalSeconds);
}
