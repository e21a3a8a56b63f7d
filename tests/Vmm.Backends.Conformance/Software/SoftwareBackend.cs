using Vmm.Backends.Software;
using Vmm.Core.Backends;

namespace Vmm.Backends.Conformance.Software;

/// <summary>The software CPU with its interpreter, which runs everywhere.</summary>
public sealed class SoftwareBackend : BackendUnderTest
{
    public override string Name => "software";

    public override IHypervisor Create() => new SoftwareHypervisor { Engine = CpuEngine.Interpret };
}
