using Vmm.Core;
using Vmm.Core.Backends;

namespace Vmm.TestSupport.Machines;

/// <summary>Builders of machines for tests of the runtime.</summary>
public static class TestMachine
{
    /// <summary>A machine with a fake backend, a board without chips and 64 KiB of RAM.</summary>
    public static VirtualMachineBuilder Builder(FakeHypervisor backend, FakeBoard? board = null) =>
        new VirtualMachineBuilder().WithBackend(backend).WithBoard(() => board ?? new FakeBoard()).WithBootLoader(new FakeLoader()).WithMemory(64 << 10);

    /// <summary>A machine whose vCPUs run a script.</summary>
    public static VirtualMachineBuilder Builder(Func<FakeVcpu, VcpuStop> script) => Builder(new FakeHypervisor(script));

    /// <summary>Waits, without a time limit of its own, until a condition holds; the test runner's time-out ends a wait that never does.</summary>
    public static async Task UntilAsync(Func<bool> condition)
    {
        while (!condition()) await Task.Delay(1);
    }
}
