using System.Collections.Immutable;
using Vmm.Backends.Software;
using Vmm.Core.Backends;
using Vmm.Core.Errors;

namespace Vmm;

/// <summary>What this host can run machines on, and the choice between it.</summary>
public static class VmmHost
{
    /// <summary>All backends, the preferred first.</summary>
    public static ImmutableArray<IHypervisor> Backends { get; } = [new SoftwareHypervisor()];

    /// <summary>Asks every backend whether it can be used here, and what would mend it if not. No side effects.</summary>
    public static ImmutableArray<HypervisorProbe> Probe() => [.. Backends.Select(b => b.Probe())];

    /// <summary>
    /// Chooses a backend: by name, or (for "auto") the first that is usable and runs whole operating systems here.
    /// </summary>
    /// <param name="name">"auto", "kvm", "whp" or "software".</param>
    /// <exception cref="VmmConfigurationException">No backend of that name is usable; the message says why and what mends it.</exception>
    public static IHypervisor SelectBackend(string name = "auto")
    {
        ArgumentNullException.ThrowIfNull(name);
        if (name == "auto") return Backends.First(b => b.Probe() is { IsUsable: true } p && p.Capabilities.HasFlag(HypervisorCapabilities.FullSystem));
        if (Backends.FirstOrDefault(b => b.Name == name) is not { } backend)
        {
            throw new VmmConfigurationException([$"There is no backend '{name}'; choose auto, {string.Join(", ", Backends.Select(b => b.Name))}."]);
        }

        var probe = backend.Probe();
        return probe.IsUsable ? backend : throw new VmmConfigurationException([$"The backend '{name}' cannot be used here: {probe.Detail}{(probe.Fix is null ? "" : $" To mend it: {probe.Fix}")}"]);
    }
}
