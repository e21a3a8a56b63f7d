using Vmm.Backends.Software;
using Vmm.Core.Backends;

namespace Vmm.Backends.Conformance.Software;

/// <summary>The software CPU.</summary>
public sealed class SoftwareBackend : BackendUnderTest
{
    public override string Name => "software";

    public override IHypervisor Create() => new SoftwareHypervisor();
}
