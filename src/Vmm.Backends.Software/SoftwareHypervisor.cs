using Vmm.Core.Backends;

namespace Vmm.Backends.Software;

/// <summary>The software CPU: an x86-64 processor in portable C#. Works on every host, without any privilege.</summary>
public sealed class SoftwareHypervisor : IHypervisor
{
    internal const HypervisorCapabilities Capabilities = HypervisorCapabilities.DirtyLog | HypervisorCapabilities.InstructionCount | HypervisorCapabilities.VirtualTime | HypervisorCapabilities.LocalApic | HypervisorCapabilities.FullSystem;

    /// <inheritdoc/>
    public string Name => "software";

    /// <inheritdoc/>
    public HypervisorProbe Probe() => BitConverter.IsLittleEndian
        ? new("software", true, "The software CPU runs everywhere.", null, Capabilities)
        : new("software", false, "This host is big-endian; the software CPU shares memory with its guest in little-endian order.", null, HypervisorCapabilities.None);

    /// <inheritdoc/>
    public IPartition CreatePartition(PartitionOptions options) => new SoftwarePartition(options);
}
