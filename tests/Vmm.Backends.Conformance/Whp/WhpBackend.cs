using Vmm.Backends.Whp.Simulation;
using Vmm.Core.Backends;

namespace Vmm.Backends.Conformance.Whp;

/// <summary>The Windows Hypervisor Platform's backend, on the simulated platform, so that it runs on every host.</summary>
public sealed class WhpBackend : BackendUnderTest
{
    public override string Name => "whp";

    public override IHypervisor Create() => new SimulatedHypervisor();
}
