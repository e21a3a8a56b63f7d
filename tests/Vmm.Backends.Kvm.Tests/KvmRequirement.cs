using Vmm.Core.Backends;

namespace Vmm.Backends.Kvm.Tests;

/// <summary>What a test needs of this host. VMM_REQUIRE=kvm makes its absence a failure.</summary>
internal static class KvmRequirement
{
    private static readonly HypervisorProbe s_probe = new KvmHypervisor().Probe();

    public static void Usable() => Need(s_probe.IsUsable, $"no KVM: {s_probe.Detail} To mend it: {s_probe.Fix}");

    public static void FullSystem()
    {
        Usable();
        Assert.SkipUnless(s_probe.Capabilities.HasFlag(HypervisorCapabilities.FullSystem), s_probe.Detail);
    }

    private static void Need(bool has, string reason)
    {
        if (has) return;
        Assert.False((Environment.GetEnvironmentVariable("VMM_REQUIRE") ?? "").Split(',').Contains("kvm"), reason);
        Assert.Skip(reason);
    }
}
