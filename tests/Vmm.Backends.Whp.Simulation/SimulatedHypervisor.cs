using Vmm.Backends.Whp.Interop;
using Vmm.Core.Backends;

namespace Vmm.Backends.Whp.Simulation;

/// <summary>
/// The backend for the Windows Hypervisor Platform on a simulated platform: the functions that it imports, as documented, on top of the
/// software CPU. For tests on any host.
/// </summary>
public sealed class SimulatedHypervisor : IHypervisor
{
    private readonly WhpHypervisor _backend = new(new WhpHost(true, true, false, SimulatedFunctions.Create()));

    public string Name => _backend.Name;

    public HypervisorProbe Probe() => _backend.Probe();

    public IPartition CreatePartition(PartitionOptions options)
    {
        // Hardware sees the host's writes to code by itself; the simulated processors must be told of them.
        SimulatedPartition.HostMemory = options.Bus.Memory;
        try
        {
            return _backend.CreatePartition(options);
        }
        finally
        {
            SimulatedPartition.HostMemory = null;
        }
    }
}
