using Vmm.Backends.Kvm.Interop;
using Vmm.Core.Errors;
using Vmm.Core.Memory;
using static Vmm.Backends.Kvm.Interop.Kvm;

namespace Vmm.Backends.Kvm;

/// <summary>Memory slots and the dirty log.</summary>
public sealed unsafe partial class KvmPartition
{
    private readonly Lock _slotLock = new();
    private readonly Dictionary<MemoryRegion, Slot> _slots = [];
    private readonly SortedSet<int> _freeSlots = [];
    private bool _manualProtect;

    private sealed class Slot(int number)
    {
        public int Number { get; } = number;

        /// <summary>Pages that a dirty ring named and nobody has collected yet; null while the log is off or in the kernel.</summary>
        public ulong[]? Harvested { get; set; }

        public bool IsLogged { get; set; }
    }

    internal int RingEntries { get; private set; }

    private GuestMemory Memory => Bus.Memory;

    /// <inheritdoc/>
    public void SetDirtyLog(MemoryRegion region, bool enabled)
    {
        lock (_slotLock)
        {
            var slot = _slots.GetValueOrDefault(region) ?? throw new ArgumentException($"The region '{region.Name}' is not mapped.", nameof(region));

            // Off and on again: that is how the kernel forgets what it had logged.
            if (slot.IsLogged) Map(region, slot.Number, 0);
            if (enabled) Map(region, slot.Number, KVM_MEM_LOG_DIRTY_PAGES);
            if (RingEntries != 0) HarvestLocked();
            slot.IsLogged = enabled;
            slot.Harvested = enabled && RingEntries != 0 ? new ulong[Words(region)] : null;
        }

        // The kernel sees the guest's writes, the page flags those of devices.
        for (ulong page = 0; page < region.Length / MemoryRegion.PageSize; page++)
        {
            if (enabled) region.SetFlags(page, PageFlags.Clean);
            else region.ClearFlags(page, PageFlags.Clean);
        }
    }

    /// <inheritdoc/>
    public void CollectDirty(MemoryRegion region, Span<ulong> pages)
    {
        lock (_slotLock)
        {
            var slot = _slots.GetValueOrDefault(region) is { IsLogged: true } s ? s : throw new InvalidOperationException($"The log of the region '{region.Name}' is not on.");
            if (slot.Harvested is { } harvested)
            {
                HarvestLocked();
                for (var i = 0; i < harvested.Length; i++) pages[i] |= harvested[i];
                Array.Clear(harvested);
            }
            else
            {
                CollectBitmap(region, slot, pages);
            }
        }

        for (ulong page = 0; page < region.Length / MemoryRegion.PageSize; page++)
        {
            if ((region.GetFlags(page) & PageFlags.Clean) != 0) continue;
            region.SetFlags(page, PageFlags.Clean);
            pages[(int)(page / 64)] |= 1UL << (int)(page % 64);
        }
    }

    /// <summary>Takes what the dirty rings hold; a vCPU whose ring is full cannot go on without.</summary>
    internal void Harvest()
    {
        lock (_slotLock) HarvestLocked();
    }

    private static int Words(MemoryRegion region) => (int)((region.Length / MemoryRegion.PageSize + 63) / 64);

    private void CollectBitmap(MemoryRegion region, Slot slot, Span<ulong> pages)
    {
        var bitmap = new ulong[Words(region)];
        // SAFETY: the kernel writes one bit a page of the slot, rounded up to 64, which is the array's size.
        fixed (ulong* pointer = bitmap)
        {
            var log = new kvm_dirty_log { slot = (uint)slot.Number, dirty_bitmap = pointer };
            _vm.Call(KVM_GET_DIRTY_LOG, nameof(KVM_GET_DIRTY_LOG), ref log);
            if (_manualProtect)
            {
                var clear = new kvm_clear_dirty_log { slot = (uint)slot.Number, num_pages = (uint)(region.Length / MemoryRegion.PageSize), dirty_bitmap = pointer };
                _vm.Call(KVM_CLEAR_DIRTY_LOG, nameof(KVM_CLEAR_DIRTY_LOG), ref clear);
            }
        }

        for (var i = 0; i < bitmap.Length; i++) pages[i] |= bitmap[i];
    }

    private void HarvestLocked()
    {
        var any = false;
        foreach (var vcpu in _vcpus)
        {
            if (vcpu.DirtyRing == 0) continue;
            var ring = (kvm_dirty_gfn*)vcpu.DirtyRing;
            while (true)
            {
                // SAFETY: the index is below the number of entries that were mapped; the kernel publishes an entry by its flags.
                ref var entry = ref ring[vcpu.RingPosition % RingEntries];
                if ((Volatile.Read(ref entry.flags) & KVM_DIRTY_GFN_F_DIRTY) == 0) break;
                foreach (var slot in _slots.Values)
                {
                    if (slot.Number != (entry.slot & 0xFFFF) || slot.Harvested is not { } harvested || entry.offset / 64 >= (uint)harvested.Length) continue;
                    harvested[entry.offset / 64] |= 1UL << (int)(entry.offset % 64);
                }

                Volatile.Write(ref entry.flags, KVM_DIRTY_GFN_F_RESET);
                vcpu.RingPosition++;
                any = true;
            }
        }

        if (any) _vm.Call(KVM_RESET_DIRTY_RINGS, nameof(KVM_RESET_DIRTY_RINGS));
    }

    private void SetUpDirtyLog()
    {
        if (Settings.DirtyRingEntries != 0 && _vm.TryEnable(KVM_CAP_DIRTY_LOG_RING, (ulong)Settings.DirtyRingEntries * (uint)sizeof(kvm_dirty_gfn)) == 0) RingEntries = Settings.DirtyRingEntries;
        else if ((Host[KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2] & (int)KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) != 0) _manualProtect = _vm.TryEnable(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) == 0;
    }

    private void OnRegionAdded(MemoryRegion region)
    {
        lock (_slotLock)
        {
            var number = _freeSlots.Count > 0 ? _freeSlots.Min : _slots.Count;
            if (number >= Host[KVM_CAP_NR_MEMSLOTS])
            {
                throw new HypervisorException(nameof(KVM_SET_USER_MEMORY_REGION), Linux.EINVAL, $"the host's KVM has {Host[KVM_CAP_NR_MEMSLOTS]} memory slots, and '{region.Name}' would be one more", "use fewer, larger memory regions");
            }

            Map(region, number, 0);
            _freeSlots.Remove(number);
            _slots.Add(region, new Slot(number));
        }
    }

    private void OnRegionRemoved(MemoryRegion region)
    {
        lock (_slotLock)
        {
            if (!_slots.Remove(region, out var slot)) return;
            var nothing = new kvm_userspace_memory_region { slot = (uint)slot.Number };
            _vm.Call(KVM_SET_USER_MEMORY_REGION, nameof(KVM_SET_USER_MEMORY_REGION), ref nothing);
            _freeSlots.Add(slot.Number);
        }
    }

    private void Map(MemoryRegion region, int number, uint flags)
    {
        if (region.Kind == MemoryRegionKind.Rom) flags |= KVM_MEM_READONLY;
        var slot = new kvm_userspace_memory_region
        {
            slot = (uint)number, flags = flags, guest_phys_addr = region.Start, memory_size = region.Length, userspace_addr = (ulong)region.HostAddress,
        };
        var result = _vm.TryCall(KVM_SET_USER_MEMORY_REGION, ref slot);
        if (result < 0) throw KvmErrors.Of(nameof(KVM_SET_USER_MEMORY_REGION), -result);
    }
}
