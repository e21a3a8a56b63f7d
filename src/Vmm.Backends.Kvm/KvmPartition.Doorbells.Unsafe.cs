using Vmm.Backends.Kvm.Execution;
using Vmm.Backends.Kvm.Interop;
using Vmm.Core.Buses;
using static Vmm.Backends.Kvm.Interop.Kvm;

namespace Vmm.Backends.Kvm;

/// <summary>Doorbells by ioeventfd, and writes that the kernel collects.</summary>
public sealed unsafe partial class KvmPartition
{
    private readonly Lock _doorbellLock = new();
    private readonly Lock _coalescedLock = new();
    private DoorbellThread? _doorbells;
    private bool _hasCoalesced;

    /// <summary>Whether the kernel collects writes.</summary>
    internal bool HasCoalesced => Volatile.Read(ref _hasCoalesced);

    /// <summary>
    /// Lets the kernel collect writes to a range: they reach their device, in order, before the next exit of any vCPU, so only registers
    /// whose writes may wait are fit for it.
    /// </summary>
    /// <param name="bus">Ports or memory-mapped I/O of the machine.</param>
    /// <param name="start">First address.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>False where the host cannot, and each write exits as ever.</returns>
    public bool AddCoalescedWrites(IoBus bus, ulong start, uint length)
    {
        var isPort = bus == Bus.Ports;
        if (!Host.Has(isPort ? KVM_CAP_COALESCED_PIO : KVM_CAP_COALESCED_MMIO)) return false;
        var zone = new kvm_coalesced_mmio_zone { addr = start, size = length, pio = isPort ? 1u : 0u };
        if (_vm.TryCall(KVM_REGISTER_COALESCED_MMIO, ref zone) < 0) return false;
        Volatile.Write(ref _hasCoalesced, true);
        return true;
    }

    /// <summary>Ends <see cref="AddCoalescedWrites"/>; what was collected is delivered first.</summary>
    /// <param name="bus">The bus.</param>
    /// <param name="start">First address.</param>
    /// <param name="length">Bytes.</param>
    public void RemoveCoalescedWrites(IoBus bus, ulong start, uint length)
    {
        DeliverCoalesced();
        var zone = new kvm_coalesced_mmio_zone { addr = start, size = length, pio = bus == Bus.Ports ? 1u : 0u };
        _ = _vm.TryCall(KVM_UNREGISTER_COALESCED_MMIO, ref zone);
    }

    /// <summary>Delivers collected writes, before an exit is served.</summary>
    internal void DeliverCoalesced()
    {
        if (!Volatile.Read(ref _hasCoalesced)) return;
        lock (_coalescedLock)
        {
            var page = _vcpus[0].RunPage + Host[KVM_CAP_COALESCED_MMIO] * Environment.SystemPageSize;
            var ring = (kvm_coalesced_mmio_ring*)page;
            var entries = (kvm_coalesced_mmio*)(ring + 1);
            var count = (uint)((Environment.SystemPageSize - sizeof(kvm_coalesced_mmio_ring)) / sizeof(kvm_coalesced_mmio));

            // SAFETY: the ring fills one page of the mapping; the kernel moves last, we first, both below the count.
            while (Volatile.Read(ref ring->last) is var last && ring->first != last && ring->first < count)
            {
                var entry = entries[ring->first];
                var data = new ReadOnlySpan<byte>(entry.data, (int)Math.Min(entry.len, 8));
                if (entry.pio != 0) Bus.Ports.Write(entry.phys_addr, data.Length, *(ulong*)entry.data);
                else Bus.WriteMmio(entry.phys_addr, data);
                Volatile.Write(ref ring->first, (ring->first + 1) % count);
            }
        }
    }

    /// <summary>Rings every doorbell that was written and not rung yet, and waits for those under way: called by a vCPU before it returns.</summary>
    internal void SettleDoorbells() => _doorbells?.Settle();

    private void OnDoorbellAdded(Doorbell doorbell)
    {
        // Where the kernel cannot, or takes no more, the write reaches the window's handler.
        if (!Host.Has(KVM_CAP_IOEVENTFD)) return;
        lock (_doorbellLock)
        {
            var file = KvmFile.CreateEvent();
            if (SetIoEvent(doorbell, file, 0) < 0)
            {
                file.Dispose();
                return;
            }

            (_doorbells ??= new DoorbellThread()).Add(doorbell, file);
        }
    }

    private void OnDoorbellRemoved(Doorbell doorbell)
    {
        lock (_doorbellLock)
        {
            if (_doorbells?.Remove(doorbell) is not { } file) return;
            _ = SetIoEvent(doorbell, file, KVM_IOEVENTFD_FLAG_DEASSIGN);
            file.Dispose();
        }
    }

    private int SetIoEvent(Doorbell doorbell, KvmFile file, uint flags)
    {
        if (doorbell.Bus == Bus.Ports) flags |= KVM_IOEVENTFD_FLAG_PIO;
        if (doorbell.Value is not null) flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
        var io = new kvm_ioeventfd { datamatch = doorbell.Value ?? 0, addr = doorbell.Address, len = (uint)doorbell.Size, fd = file.Descriptor, flags = flags };
        return _vm.TryCall(KVM_IOEVENTFD, ref io);
    }
}
