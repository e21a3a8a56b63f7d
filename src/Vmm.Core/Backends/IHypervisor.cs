namespace Vmm.Core.Backends;

/// <summary>A way to run guest code: KVM, the Windows Hypervisor Platform, or the software CPU. Thread-safe.</summary>
public interface IHypervisor
{
    /// <summary>The short name: "kvm", "whp", "software".</summary>
    string Name { get; }

    /// <summary>Finds out, without side effects, whether this host can run it.</summary>
    HypervisorProbe Probe();

    /// <summary>Makes an empty partition: no memory, no vCPU.</summary>
    /// <param name="options">What the machine needs of it.</param>
    /// <exception cref="Errors.HypervisorException">The host refused; the message says what mends it.</exception>
    IPartition CreatePartition(PartitionOptions options);
}
