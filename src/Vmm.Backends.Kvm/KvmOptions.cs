using System.Collections.Immutable;

namespace Vmm.Backends.Kvm;

/// <summary>How the KVM backend sets up its virtual machines.</summary>
public sealed record KvmOptions
{
    /// <summary>The device file.</summary>
    public string DevicePath { get; init; } = "/dev/kvm";

    /// <summary>Which interrupt controllers the kernel emulates.</summary>
    public KvmIrqchip Irqchip { get; init; } = KvmIrqchip.Split;

    /// <summary>
    /// Entries (a power of two, at least 1024) of each vCPU's dirty ring; zero logs dirty pages in bitmaps. A ring costs by pages written, a bitmap by
    /// pages there are. Where the host has no rings, bitmaps are used.
    /// </summary>
    public int DirtyRingEntries { get; init; }

    /// <summary>MSRs, as first index and count, whose use by the guest faults (#GP) and is counted as unknown, even if the host has them. At most 16 ranges of 4096.</summary>
    public ImmutableArray<(uint First, uint Count)> DeniedMsrs { get; init; } = [];

    /// <summary>Whether the guest is told by CPUID of KVM's paravirtual features: kvmclock, steal time, EOI without exit, asynchronous page faults.</summary>
    public bool Paravirtual { get; init; } = true;
}
