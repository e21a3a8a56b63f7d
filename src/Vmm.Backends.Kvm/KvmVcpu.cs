using Vmm.Backends.Kvm.Interop;
using Vmm.Core.Backends;
using Vmm.Core.X86;
using static Vmm.Backends.Kvm.Interop.Kvm;

namespace Vmm.Backends.Kvm;

/// <summary>A vCPU of KVM's.</summary>
internal sealed partial class KvmVcpu : IVcpu, IDisposable
{
    private readonly KvmPartition _partition;
    private readonly KvmFile _file;
    private readonly KvmMapping _mapping;
    private readonly KvmMapping? _ring;
    private readonly CpuModel _model;

    public KvmVcpu(KvmPartition partition, KvmFile vm, int index, CpuModel model, int count)
    {
        (_partition, Index, _model) = (partition, index, model);
        var host = partition.Host;
        _file = new KvmFile(vm.Call(KVM_CREATE_VCPU, nameof(KVM_CREATE_VCPU), index));
        try
        {
            _mapping = new KvmMapping(_file, host.RunLength, 0);
            if (partition.RingEntries != 0) _ring = new KvmMapping(_file, (nuint)partition.RingEntries * 16, KVM_DIRTY_LOG_PAGE_OFFSET * (long)Environment.SystemPageSize);

            // With scaling the guest's TSC has the frequency that it has on every backend.
            if (host.Has(KVM_CAP_TSC_CONTROL)) _ = _file.TryCall(KVM_SET_TSC_KHZ, (nint)(Core.Time.VmClock.TscFrequency / 1000));
            var kilohertz = _file.TryCall(KVM_GET_TSC_KHZ);
            if (kilohertz <= 0) kilohertz = (int)(Core.Time.VmClock.TscFrequency / 1000);
            _tscKilohertz = (uint)kilohertz;
            var cpuid = KvmCpuid.Build(host, model, index, count, (uint)kilohertz, partition.Settings.Paravirtual);
            var entries = (uint)cpuid.Length;
            var result = _file.TryCallList(KVM_SET_CPUID2, cpuid.AsSpan(), ref entries);
            if (result < 0) throw KvmErrors.Of(nameof(KVM_SET_CPUID2), -result);
            _msrs = FindMsrs();
            _xsaveSize = Math.Max(VcpuState.XsaveSize, host[KVM_CAP_XSAVE2]);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public int Index { get; }

    /// <inheritdoc/>
    public ulong InstructionsRetired => 0;

    /// <inheritdoc/>
    public VcpuCounters Counters { get; } = new();

    /// <summary>The first byte of the kvm_run page.</summary>
    public nint RunPage => _mapping.Address;

    /// <summary>The first entry of the dirty ring, or zero.</summary>
    public nint DirtyRing => _ring?.Address ?? 0;

    /// <summary>How many entries of the dirty ring were taken.</summary>
    public uint RingPosition { get; set; }

    /// <summary>The vCPU's file.</summary>
    public KvmFile File => _file;

    /// <inheritdoc/>
    public void Kick()
    {
        Interlocked.Exchange(ref _kicked, 1);
        Interrupt();
        _partition.Kicked?.Invoke(Index);
    }

    /// <inheritdoc/>
    public void SetExternalInterrupt(bool level)
    {
        if (Interlocked.Exchange(ref _external, level ? 1 : 0) != 0 || !level) return;
        Interrupt();
        WakeHalted();
    }

    /// <inheritdoc/>
    public void InjectNmi()
    {
        Interlocked.Exchange(ref _nmi, 1);
        Interrupt();
        WakeHalted();
    }

    /// <inheritdoc/>
    public void SetDebug(GuestDebug debug)
    {
        ArgumentNullException.ThrowIfNull(debug);
        if ((debug.Needs & ~_partition.Capabilities) is var missing and not 0) throw new InvalidOperationException($"This KVM lacks {missing}; ask IPartition.Capabilities first.");
        ArgumentOutOfRangeException.ThrowIfGreaterThan(debug.Breakpoints.Length, 4, nameof(debug));
        SetDebugRegisters(debug);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // Nobody kicks any more; the lock waits for one that has begun.
        lock (_threadLock) _thread = 0;
        _ring?.Dispose();
        _mapping?.Dispose();
        _file.Dispose();
    }

    // Without a local APIC in the kernel a halted guest is outside Run.
    private void WakeHalted()
    {
        if (_partition.Settings.Irqchip == KvmIrqchip.None) _partition.Kicked?.Invoke(Index);
    }
}
