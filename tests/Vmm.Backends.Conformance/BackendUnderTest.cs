using Vmm.Core.Backends;
using Vmm.Core.X86;

namespace Vmm.Backends.Conformance;

/// <summary>A backend as the suite sees it: how to make it, and what cannot be asked of it on this host and why. One small class a backend.</summary>
public abstract class BackendUnderTest
{
    /// <summary>What VMM_REQUIRE calls it.</summary>
    public abstract string Name { get; }

    /// <summary>Makes the hypervisor.</summary>
    public abstract IHypervisor Create();

    /// <summary>The CPU that guests get. Every host that runs the suite has all of it.</summary>
    public virtual CpuModel Model => CpuModel.X86_64_V2;

    /// <summary>
    /// Why the backend lacks something here; null when it has it. The default goes by the probe's capabilities. A backend that can tell more
    /// overrides it.
    /// </summary>
    /// <param name="capability">One capability.</param>
    public virtual string? Lacks(HypervisorCapabilities capability)
    {
        var probe = Create().Probe();
        return probe.Capabilities.HasFlag(capability) ? null : $"unsupported: '{Name}' has no {capability} here ({probe.Detail})";
    }

    /// <summary>Single tests that the host cannot pass, by "Topic.Test", each with the reason. For what no capability tells.</summary>
    public virtual IReadOnlyDictionary<string, string> Unsupported { get; } = new Dictionary<string, string>();

    /// <summary>Skips the test where the backend cannot be used on this host; fails it where VMM_REQUIRE names the backend.</summary>
    public void RequireUsable()
    {
        var probe = Create().Probe();
        if (probe.IsUsable) return;
        var reason = $"'{Name}' cannot be used here: {probe.Detail}{(probe.Fix is null ? "" : $" To mend it: {probe.Fix}")}";
        var required = (Environment.GetEnvironmentVariable("VMM_REQUIRE") ?? "").Split(',', StringSplitOptions.TrimEntries);
        if (required.Contains(Name)) Assert.Fail($"VMM_REQUIRE={Name}, but {reason}");
        Assert.Skip(reason);
    }
}
