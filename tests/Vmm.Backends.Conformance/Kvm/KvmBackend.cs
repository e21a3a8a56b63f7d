using Vmm.Backends.Kvm;
using Vmm.Core.Backends;

namespace Vmm.Backends.Conformance.Kvm;

/// <summary>Linux KVM. One hypervisor for the whole run, whose first probe tells by behaviour what the host's KVM can do.</summary>
public sealed class KvmBackend : BackendUnderTest
{
    private static readonly KvmHypervisor s_hypervisor = new();

    public override string Name => "kvm";

    public override IHypervisor Create() => s_hypervisor;

    public override IReadOnlyDictionary<string, string> Unsupported { get; } = new Dictionary<string, string>
    {
        ["ProcessorTests.LowestPriority_GoesToTheOneWithTheLowerTaskPriority"] = "KVM chooses among processors by vector or by turns, not by task priority",
    };
}
