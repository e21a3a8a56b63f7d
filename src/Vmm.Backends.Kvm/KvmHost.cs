using System.Collections.Immutable;
using Vmm.Backends.Kvm.Interop;
using Vmm.Core.Errors;
using static Vmm.Backends.Kvm.Interop.Kvm;

namespace Vmm.Backends.Kvm;

/// <summary>What the host's KVM has: asked once, the same for every partition.</summary>
internal sealed class KvmHost
{
    private const uint MaxCpuidEntries = 256;

    private readonly ImmutableDictionary<int, int> _extensions;

    /// <summary>Asks an open device.</summary>
    /// <exception cref="HypervisorException">It is not KVM, or too old.</exception>
    public KvmHost(KvmFile device)
    {
        var version = device.Call(KVM_GET_API_VERSION, nameof(KVM_GET_API_VERSION));
        if (version != KVM_API_VERSION)
        {
            throw new HypervisorException(nameof(KVM_GET_API_VERSION), 0, $"the interface has version {version}, not {KVM_API_VERSION}", "use a Linux kernel of this century");
        }

        RunLength = (nuint)device.Call(KVM_GET_VCPU_MMAP_SIZE, nameof(KVM_GET_VCPU_MMAP_SIZE));
        _extensions = Asked.ToImmutableDictionary(c => c, device.CheckExtension);
        Cpuid = ReadCpuid(device);
        Msrs = ReadMsrs(device);
    }

    private static ImmutableArray<int> Asked =>
    [
        KVM_CAP_IRQCHIP, KVM_CAP_NR_MEMSLOTS, KVM_CAP_COALESCED_MMIO, KVM_CAP_COALESCED_PIO, KVM_CAP_SET_GUEST_DEBUG,
        KVM_CAP_SET_GUEST_DEBUG2, KVM_CAP_IRQFD, KVM_CAP_IOEVENTFD, KVM_CAP_ADJUST_CLOCK, KVM_CAP_VCPU_EVENTS,
        KVM_CAP_DEBUGREGS, KVM_CAP_XSAVE, KVM_CAP_XCRS, KVM_CAP_TSC_CONTROL, KVM_CAP_GET_TSC_KHZ, KVM_CAP_MAX_VCPUS,
        KVM_CAP_TSC_DEADLINE_TIMER, KVM_CAP_SIGNAL_MSI, KVM_CAP_READONLY_MEM, KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_X2APIC_API,
        KVM_CAP_IMMEDIATE_EXIT, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_CAP_X86_USER_SPACE_MSR, KVM_CAP_X86_MSR_FILTER,
        KVM_CAP_DIRTY_LOG_RING, KVM_CAP_SREGS2, KVM_CAP_BINARY_STATS_FD, KVM_CAP_XSAVE2,
    ];

    /// <summary>The bytes of a vCPU's shared mapping.</summary>
    public nuint RunLength { get; }

    /// <summary>KVM_GET_SUPPORTED_CPUID.</summary>
    public ImmutableArray<kvm_cpuid_entry2> Cpuid { get; }

    /// <summary>KVM_GET_MSR_INDEX_LIST.</summary>
    public ImmutableArray<uint> Msrs { get; }

    /// <summary>A capability's value when it was asked; zero for absent.</summary>
    public int this[int capability] => _extensions.GetValueOrDefault(capability);

    /// <summary>Whether there is a capability.</summary>
    public bool Has(int capability) => this[capability] != 0;

    /// <summary>What the host supports of a CPUID leaf; all zero for nothing.</summary>
    public kvm_cpuid_entry2 FindCpuid(uint leaf, uint subleaf = 0)
    {
        foreach (var entry in Cpuid)
        {
            if (entry.function == leaf && ((entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) == 0 || entry.index == subleaf)) return entry;
        }

        return default;
    }

    private static ImmutableArray<kvm_cpuid_entry2> ReadCpuid(KvmFile device)
    {
        var entries = new kvm_cpuid_entry2[MaxCpuidEntries];
        var count = MaxCpuidEntries;
        var result = device.TryCallList(KVM_GET_SUPPORTED_CPUID, entries.AsSpan(), ref count);
        return result >= 0 ? [.. entries.AsSpan(0, (int)count)] : throw KvmErrors.Of(nameof(KVM_GET_SUPPORTED_CPUID), -result);
    }

    private static ImmutableArray<uint> ReadMsrs(KvmFile device)
    {
        // The first call says how many there are (E2BIG), the second which.
        uint count = 0;
        _ = device.TryCallList<uint>(KVM_GET_MSR_INDEX_LIST, [], ref count, header: 4);
        var indices = new uint[count];
        var result = device.TryCallList(KVM_GET_MSR_INDEX_LIST, indices.AsSpan(), ref count, header: 4);
        return result >= 0 ? [.. indices.AsSpan(0, (int)Math.Min(count, (uint)indices.Length))] : throw KvmErrors.Of(nameof(KVM_GET_MSR_INDEX_LIST), -result);
    }
}
