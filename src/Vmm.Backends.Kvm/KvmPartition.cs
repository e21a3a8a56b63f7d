using System.Collections.Immutable;
using Vmm.Backends.Kvm.Interop;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Errors;
using Vmm.Core.Time;
using static Vmm.Backends.Kvm.Interop.Kvm;

namespace Vmm.Backends.Kvm;

/// <summary>
/// KVM's side of one machine: the VM and what its vCPUs share. Beyond <see cref="IPartition"/> it has what only KVM can do; all of it
/// may be called from any thread. Every file and mapping is gone when it is disposed.
/// </summary>
public sealed partial class KvmPartition : IPartition
{
    // Three pages for real mode on Intel processors that cannot run it, and one for its page table: below the local APICs, above the boards' windows.
    private const ulong TssAddress = 0xFFFB_D000, IdentityMapAddress = 0xFFFB_C000;
    private const uint ApicPins = 24;

    private readonly KvmFile _vm;
    private readonly ImmutableArray<KvmVcpu> _vcpus;
    private bool _disposed;

    internal KvmPartition(KvmFile device, KvmHost host, KvmOptions settings, PartitionOptions options, HypervisorCapabilities capabilities)
    {
        (Host, Settings, Bus, Clock, Kicked, Capabilities) = (host, settings, options.Bus, options.Clock, options.Kicked, capabilities);
        _vm = new KvmFile(device.Call(KVM_CREATE_VM, nameof(KVM_CREATE_VM)));
        List<KvmVcpu> vcpus = [];
        try
        {
            SetUp();
            for (var i = 0; i < options.VcpuCount; i++) vcpus.Add(new KvmVcpu(this, _vm, i, options.CpuModel, options.VcpuCount));
            _vcpus = [.. vcpus];
            Vcpus = [.. vcpus];
            Memory.RegionAdded += OnRegionAdded;
            Memory.RegionRemoved += OnRegionRemoved;
            foreach (var region in Memory.Regions) OnRegionAdded(region);
            Bus.DoorbellAdded += OnDoorbellAdded;
            Bus.DoorbellRemoved += OnDoorbellRemoved;
            foreach (var doorbell in Bus.Doorbells) OnDoorbellAdded(doorbell);
        }
        catch
        {
            _vcpus = [.. vcpus];
            Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public HypervisorCapabilities Capabilities { get; }

    /// <inheritdoc/>
    public IReadOnlyList<IVcpu> Vcpus { get; } = [];

    internal KvmHost Host { get; }

    internal KvmOptions Settings { get; }

    internal SystemBus Bus { get; }

    internal VmClock Clock { get; }

    internal Action<int>? Kicked { get; }

    internal KvmFile Vm => _vm;

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        Memory.RegionAdded -= OnRegionAdded;
        Memory.RegionRemoved -= OnRegionRemoved;
        Bus.DoorbellAdded -= OnDoorbellAdded;
        Bus.DoorbellRemoved -= OnDoorbellRemoved;
        _doorbells?.Dispose();
        foreach (var (_, file) in _interrupts) file.Dispose();
        foreach (var vcpu in _vcpus) vcpu.Dispose();
        _vm.Dispose();
    }

    private void SetUp()
    {
        _ = _vm.TryCall(KVM_SET_TSS_ADDR, unchecked((nint)TssAddress));
        var identity = IdentityMapAddress;
        _ = _vm.TryCall(KVM_SET_IDENTITY_MAP_ADDR, ref identity);
        switch (Settings.Irqchip)
        {
            case KvmIrqchip.Split:
                Must(_vm.TryEnable(KVM_CAP_SPLIT_IRQCHIP, RouteCount), "KVM_CAP_SPLIT_IRQCHIP");
                break;
            case KvmIrqchip.Kernel:
                _vm.Call(KVM_CREATE_IRQCHIP, nameof(KVM_CREATE_IRQCHIP));
                var pit = new kvm_pit_config { flags = KVM_PIT_SPEAKER_DUMMY };
                _vm.Call(KVM_CREATE_PIT2, nameof(KVM_CREATE_PIT2), ref pit);
                break;
        }

        // Destinations of 32 bits, and APIC ids as the guest sees them in saved state.
        if (Settings.Irqchip != KvmIrqchip.None && Host.Has(KVM_CAP_X2APIC_API)) Must(_vm.TryEnable(KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS), "KVM_CAP_X2APIC_API");
        if (Host.Has(KVM_CAP_X86_USER_SPACE_MSR)) Must(_vm.TryEnable(KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER), "KVM_CAP_X86_USER_SPACE_MSR");
        DenyMsrs();
        SetUpDirtyLog();
    }

    private static void Must(int result, string name)
    {
        if (result < 0) throw KvmErrors.Of(name, -result);
    }
}
