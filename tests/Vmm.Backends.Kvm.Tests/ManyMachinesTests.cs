using System.Globalization;
using System.Runtime;
using Vmm.Core.Backends;

namespace Vmm.Backends.Kvm.Tests;

/// <summary>Many machines alive in one process, and what is left of them.</summary>
[Collection(nameof(Alone))]
public class ManyMachinesTests
{
    public ManyMachinesTests() => KvmRequirement.Usable();

    // VMM_MACHINES for another number.
    [Fact]
    public void MachinesAliveTogether_RunAndLeaveNothing()
    {
        var count = int.Parse(Environment.GetEnvironmentVariable("VMM_MACHINES") ?? "1000", CultureInfo.InvariantCulture);

        // The first ones bring in what a process keeps: code, heap, the signal's handler.
        Run(Math.Min(count, 50));
        var before = Usage.Now();
        var alive = Run(count);
        var after = Usage.Now();

        TestContext.Current.SendDiagnosticMessage($"{count} machines. Before: {before}. Alive: {alive}. After: {after}.");
        Assert.True(alive.Files >= before.Files + 2 * count, $"{alive} after {before}");
        Assert.True(after.Files <= before.Files, $"{after} after {before}");
        // Threads of the runtime come and go, and its heaps grow; one machine alone would leave two mappings and 512 KiB.
        Assert.True(after.Mappings <= before.Mappings + 30, $"{after} after {before}");
        Assert.True(after.Resident <= before.Resident + (24 << 20), $"{after} after {before}");
    }

    private static Usage Run(int count)
    {
        // mov [0x2000], imm; then out to the port that kicks.
        var machines = new Rig[count];
        try
        {
            for (var i = 0; i < count; i++)
            {
                machines[i] = new Rig([0xC7, 0x06, 0x00, 0x20, (byte)i, (byte)(i >> 8), 0xE6, (byte)Rig.DonePort, 0xEB, 0xFE]);
                machines[i].Bus.Memory.TryFill(0x10000, 0x80000, 0xA5);
                Assert.Equal(VcpuStopKind.Kicked, machines[i].Vcpu.Run().Kind);
            }

            for (var i = 0; i < count; i++)
            {
                Assert.True(machines[i].Bus.Memory.TryRead(0x2000, out ushort value));
                Assert.Equal((ushort)i, value);
            }

            return Usage.Now();
        }
        finally
        {
            foreach (var machine in machines) machine?.Dispose();
        }
    }

    /// <summary>What this process holds (proc(5)).</summary>
    private sealed record Usage(int Files, int Mappings, long Resident)
    {
        public static Usage Now()
        {
            GCSettings.LargeObjectHeapCompactionMode = GCLargeObjectHeapCompactionMode.CompactOnce;
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
            GC.WaitForPendingFinalizers();
            var pages = long.Parse(File.ReadAllText("/proc/self/statm").Split(' ')[1], CultureInfo.InvariantCulture);
            return new Usage(Directory.GetFiles("/proc/self/fd").Length, File.ReadLines("/proc/self/maps").Count(), pages * Environment.SystemPageSize);
        }
    }
}
