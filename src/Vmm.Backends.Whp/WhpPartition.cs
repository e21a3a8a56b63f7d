using System.Buffers;
using System.Collections.Immutable;
using Vmm.Backends.Whp.Interop;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.X86;
using static Vmm.Backends.Whp.Interop.WHV_MAP_GPA_RANGE_FLAGS;
using static Vmm.Backends.Whp.Interop.WHV_PARTITION_PROPERTY_CODE;

namespace Vmm.Backends.Whp;

/// <summary>One machine's partition: its properties, its mappings, and its processors with the local APICs that the platform emulates.</summary>
internal sealed class WhpPartition : IPartition
{
    private readonly Lock _mappings = new();
    private readonly HashSet<MemoryRegion> _logged = [];
    private readonly ImmutableArray<WhpVcpu> _vcpus;

    public WhpPartition(WhpFunctions functions, PartitionOptions options)
    {
        Options = options;
        var platform = new WhpPlatform(functions);
        Capabilities = WhpHypervisor.Capabilities(platform.GetCapability(WHV_CAPABILITY_CODE.WHvCapabilityCodeFeatures));
        Cpuid = new GuestCpuid(options.CpuModel, options.VcpuCount, platform);
        Calls = new WhpCalls(functions);
        try
        {
            SetUp(platform);
            Calls.Setup();
            lock (_mappings)
            {
                foreach (var region in Bus.Memory.Regions) Map(region);
            }

            var vcpus = ImmutableArray.CreateBuilder<WhpVcpu>(options.VcpuCount);
            for (var i = 0; i < options.VcpuCount; i++)
            {
                Calls.CreateProcessor(i);
                vcpus.Add(new WhpVcpu(this, functions, i));
            }

            _vcpus = vcpus.MoveToImmutable();
            Vcpus = [.. _vcpus];
        }
        catch
        {
            Calls.Dispose();
            throw;
        }

        Bus.Memory.RegionAdded += OnAdded;
        Bus.Memory.RegionRemoved += OnRemoved;
    }

    public PartitionOptions Options { get; }

    public SystemBus Bus => Options.Bus;

    /// <summary>The platform's calls on this partition.</summary>
    public WhpCalls Calls { get; }

    /// <summary>What CPUID says.</summary>
    public GuestCpuid Cpuid { get; }

    /// <inheritdoc/>
    public HypervisorCapabilities Capabilities { get; }

    /// <inheritdoc/>
    public IReadOnlyList<IVcpu> Vcpus { get; }

    /// <inheritdoc/>
    public void SignalMsi(MsiMessage message)
    {
        if (message.Address >> 20 != 0xFEE) return;
        var mode = (message.Data >> 8) & 7;
        if (mode == 7)
        {
            // ExtINT: the platform has no such request; the pin does the same.
            var target = (int)(message.Address >> 12) & 0xFF;
            if (target < _vcpus.Length) _vcpus[target].SetExternalInterrupt(true);
            return;
        }

        if (mode is 2 or 3) return;

        // The platform refuses vectors below 16 and destinations without anybody, which is what dropping is.
        Calls.RequestInterrupt(new WHV_INTERRUPT_CONTROL
        {
            Control = mode | (message.Address & 4) << 6 | (message.Data & 0x8000ul) >> 3,
            Destination = (uint)(message.Address >> 12) & 0xFF,
            Vector = message.Data & 0xFF,
        });
    }

    /// <inheritdoc/>
    public void SetDirtyLog(MemoryRegion region, bool enabled)
    {
        if (!Capabilities.HasFlag(HypervisorCapabilities.DirtyLog)) throw new InvalidOperationException("This host's hypervisor platform cannot track dirty pages; ask for HypervisorCapabilities.DirtyLog first.");
        lock (_mappings)
        {
            if (enabled ? !_logged.Add(region) : !_logged.Remove(region))
            {
                if (!enabled) return;
            }

            Calls.Unmap(region.Start, region.Length);
            Map(region);
            for (ulong page = 0; page < region.Length / MemoryRegion.PageSize; page++)
            {
                // The guest's writes are the platform's to see; the flags show the host's.
                if (enabled) region.SetFlags(page, PageFlags.Clean);
                else region.ClearFlags(page, PageFlags.Clean);
            }

            if (enabled) CollectGuest(region, null);
        }
    }

    /// <inheritdoc/>
    public void CollectDirty(MemoryRegion region, Span<ulong> pages)
    {
        lock (_mappings)
        {
            for (ulong page = 0; page < region.Length / MemoryRegion.PageSize; page++)
            {
                if ((region.GetFlags(page) & PageFlags.Clean) != 0) continue;
                region.SetFlags(page, PageFlags.Clean);
                pages[(int)(page / 64)] |= 1UL << (int)(page % 64);
            }

            CollectGuest(region, pages);
        }
    }

    /// <summary>
    /// Whether memory is behind an address that a processor has faulted on: its region is being mapped anew, or a device has just added it.
    /// Returns when that is done, so that the instruction can be run again.
    /// </summary>
    public bool IsMapped(ulong gpa, bool write)
    {
        if (Bus.Memory.Find(gpa) is not { } region || (write && region.Kind == MemoryRegionKind.Rom)) return false;
        lock (_mappings) return Bus.Memory.Find(gpa) is not null;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Bus.Memory.RegionAdded -= OnAdded;
        Bus.Memory.RegionRemoved -= OnRemoved;
        foreach (var vcpu in _vcpus) vcpu.Dispose();
        Calls.Dispose();
    }

    private void SetUp(WhpPlatform platform)
    {
        Calls.SetProperty(WHvPartitionPropertyCodeProcessorCount, (uint)Options.VcpuCount);

        // An APIC that knows x2APIC also begins as an xAPIC; hosts without it take the older mode.
        if (!Options.CpuModel.Has(CpuFeature.X2Apic) || !Calls.TrySetProperty<uint>(WHvPartitionPropertyCodeLocalApicEmulationMode, [(uint)WHV_X64_LOCAL_APIC_EMULATION_MODE.WHvX64LocalApicEmulationModeX2Apic]))
        {
            Calls.SetProperty(WHvPartitionPropertyCodeLocalApicEmulationMode, (uint)WHV_X64_LOCAL_APIC_EMULATION_MODE.WHvX64LocalApicEmulationModeXApic);
            Cpuid.WithoutX2Apic();
        }

        var exits = WHV_EXTENDED_VM_EXITS.X64CpuidExit | WHV_EXTENDED_VM_EXITS.X64MsrExit;
        exits |= platform.GetCapability(WHV_CAPABILITY_CODE.WHvCapabilityCodeExtendedVmExits) & WHV_EXTENDED_VM_EXITS.X64ApicWriteLint0ExitTrap;
        Calls.SetProperty(WHvPartitionPropertyCodeExtendedVmExits, exits);
        Calls.TrySetProperty<ulong>(WHvPartitionPropertyCodeX64MsrExitBitmap, [WHV_X64_MSR_EXIT_BITMAP.UnhandledMsrs]);
        Calls.TrySetProperty(WHvPartitionPropertyCodeCpuidExitList, GuestCpuid.ExitList());
    }

    private void OnAdded(MemoryRegion region)
    {
        lock (_mappings) Map(region);
    }

    private void OnRemoved(MemoryRegion region)
    {
        lock (_mappings)
        {
            _logged.Remove(region);
            Calls.Unmap(region.Start, region.Length);
        }
    }

    // One partition of a process can have memory mapped by WHvMapGpaRange. WHvMapGpaRange2 (Windows 11, Server 2022) maps that of a helper
    // process, which has to share the region's pages as a section: this is the place for it.
    private void Map(MemoryRegion region)
    {
        var flags = WHvMapGpaRangeFlagRead | WHvMapGpaRangeFlagExecute;
        if (region.Kind == MemoryRegionKind.Ram) flags |= WHvMapGpaRangeFlagWrite;
        if (_logged.Contains(region)) flags |= WHvMapGpaRangeFlagTrackDirtyPages;
        Calls.Map(region.HostAddress, region.Start, region.Length, flags);
    }

    private void CollectGuest(MemoryRegion region, Span<ulong> pages)
    {
        const ulong chunk = 64UL << 20;
        const int words = (int)(chunk / MemoryRegion.PageSize / 64);
        var bitmap = ArrayPool<ulong>.Shared.Rent(words);
        for (ulong done = 0; done < region.Length; done += chunk)
        {
            var size = Math.Min(chunk, region.Length - done);
            var bits = bitmap.AsSpan(0, (int)((size / MemoryRegion.PageSize + 63) / 64));
            bits.Clear();
            Calls.QueryDirty(region.Start + done, size, bits);
            if (pages.IsEmpty) continue;
            for (var i = 0; i < bits.Length; i++) pages[(int)(done / chunk) * words + i] |= bits[i];
        }

        ArrayPool<ulong>.Shared.Return(bitmap);
    }
}
