namespace Vmm.Core.Backends;

/// <summary>Whether a backend can be used on this host, and if not, what would mend it.</summary>
/// <param name="Backend">The backend's short name: "kvm", "whp", "software".</param>
/// <param name="IsUsable">Whether <see cref="IHypervisor.CreatePartition"/> can be expected to work.</param>
/// <param name="Detail">One sentence: what was found.</param>
/// <param name="Fix">A command or step that makes it usable; null where it is usable or nothing can be done.</param>
/// <param name="Capabilities">What it can do here; meaningful when usable.</param>
public sealed record HypervisorProbe(string Backend, bool IsUsable, string Detail, string? Fix, HypervisorCapabilities Capabilities);
