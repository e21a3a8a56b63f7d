using System.Collections.Immutable;
using System.IO.Pipelines;
using Vmm.Backends.Kvm;
using Vmm.Backends.Software;
using Vmm.Backends.Whp;
using Vmm.Core;
using Vmm.Core.Backends;
using Vmm.Core.Errors;
using Vmm.Devices.Boards;

namespace Vmm;

/// <summary>What this host can run machines on, the choice between it, and a builder that has made it.</summary>
public static class VmmHost
{
    /// <summary>All backends, the preferred first.</summary>
    public static ImmutableArray<IHypervisor> Backends { get; } = [new KvmHypervisor(), new WhpHypervisor(), new SoftwareHypervisor()];

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
        if (name == "auto")
        {
            foreach (var candidate in Backends)
            {
                if (candidate.Probe() is { IsUsable: true } found && found.Capabilities.HasFlag(HypervisorCapabilities.FullSystem)) return candidate;
            }

            throw new VmmConfigurationException([.. Probe().Select(p => p.IsUsable ? $"The backend '{p.Backend}' cannot run whole operating systems here: {p.Detail}" : Unusable(p))]);
        }

        if (Backends.FirstOrDefault(b => b.Name == name) is not { } backend)
        {
            throw new VmmConfigurationException([$"There is no backend '{name}'; choose auto, {string.Join(", ", Backends.Select(b => b.Name))}."]);
        }

        var probe = backend.Probe();
        return probe.IsUsable ? backend : throw new VmmConfigurationException([Unusable(probe)]);
    }

    /// <summary>
    /// A builder with this host's preferred backend and the microvm board: say what to boot, and build. Everything else is as for
    /// <see cref="VirtualMachineBuilder"/>: 256 MiB, one vCPU, x86-64-v3.
    /// </summary>
    /// <param name="console">
    /// The other end of COM1, such as a <see cref="Devices.Serial.ConsolePipe"/>; null throws the guest's output away. A pipe is one machine's, so a
    /// builder with one builds one machine; to build several, call <see cref="VirtualMachineBuilder.WithBoard"/> with a pipe made for each.
    /// </param>
    /// <exception cref="VmmConfigurationException">No backend is usable; the message says why and what mends it.</exception>
    public static VirtualMachineBuilder CreateBuilder(IDuplexPipe? console = null) =>
        new VirtualMachineBuilder().WithBackend(SelectBackend()).WithBoard(() => new MicroVmBoard(new MicroVmOptions { Console = console }));

    private static string Unusable(HypervisorProbe probe) => $"The backend '{probe.Backend}' cannot be used here: {probe.Detail}{(probe.Fix is null ? "" : $" To mend it: {probe.Fix}")}";
}
