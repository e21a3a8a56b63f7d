using System.Runtime.InteropServices;
using Vmm.Backends.Software;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Whp.Interop;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.Time;
using Vmm.Core.X86;

namespace Vmm.Backends.Whp.Simulation;

/// <summary>A partition of the simulated platform: mappings, local APICs and processors of a software partition with everything else intercepted.</summary>
internal sealed class SimulatedPartition : IIntercepts, IDisposable
{
    /// <summary>The memory of the machine whose partition is being made on this thread.</summary>
    [ThreadStatic]
    public static GuestMemory? HostMemory;

    private readonly GuestMemory? _host = HostMemory;
    private readonly GuestMemory _memory = new();
    private readonly List<MemoryRegion> _gone = [];
    private readonly Dictionary<MemoryRegion, ulong[]> _dirty = [];
    private readonly VmClock _clock = new(TimeProvider.System);
    private readonly GCHandle _self;
    private SimulatedProcessor[] _processors = [];
    private SoftwarePartition? _software;
    private int _names;

    public SimulatedPartition()
    {
        _self = GCHandle.Alloc(this);
        if (_host is not null) _host.CodeWritten += OnHostWrite;
    }

    public nint Handle => GCHandle.ToIntPtr(_self);

    public uint ProcessorCount { get; set; }

    public static SimulatedPartition From(nint handle) => (SimulatedPartition)GCHandle.FromIntPtr(handle).Target!;

    public SimulatedProcessor Processor(uint index) => _processors[index];

    public void Setup()
    {
        var bus = new SystemBus(_memory) { EndOfInterruptListener = vector => SimulatedProcessor.Current?.EndOfInterrupt(vector) };
        var options = new PartitionOptions
        {
            Bus = bus,
            Clock = _clock,
            VcpuCount = (int)ProcessorCount,
            CpuModel = CpuModel.Max.Without(CpuFeature.La57, CpuFeature.Pku, CpuFeature.Monitor),
            Kicked = i => _processors[i].Wake(),
        };
        _software = new SoftwarePartition(options, CpuEngine.Interpret) { Intercepts = this };
        _processors = [.. _software.Processors.Select(p => new SimulatedProcessor(p))];
        _clock.Resume();
    }

    public void SuspendTime() => _clock.Pause();

    public void ResumeTime() => _clock.Resume();

    public void Map(nint host, ulong gpa, ulong size, WHV_MAP_GPA_RANGE_FLAGS flags)
    {
        lock (_gone)
        {
            var kind = flags.HasFlag(WHV_MAP_GPA_RANGE_FLAGS.WHvMapGpaRangeFlagWrite) ? MemoryRegionKind.Ram : MemoryRegionKind.Rom;
            var region = MemoryRegion.FromHost($"range {_names++}", gpa, size, host, kind);
            _memory.Add(region);
            if (flags.HasFlag(WHV_MAP_GPA_RANGE_FLAGS.WHvMapGpaRangeFlagTrackDirtyPages))
            {
                _dirty[region] = new ulong[(size / MemoryRegion.PageSize + 63) / 64];
                _software!.SetDirtyLog(region, true);
            }

            if (_host?.Find(gpa) is not { } original || original.Start != gpa) return;
            for (ulong page = 0; page < size / MemoryRegion.PageSize; page++) original.SetFlags(page, PageFlags.Code);
        }
    }

    public bool Unmap(ulong gpa)
    {
        lock (_gone)
        {
            if (_memory.Find(gpa) is not { } region || region.Start != gpa) return false;
            _memory.Remove(region);
            _dirty.Remove(region);
            _gone.Add(region);
            return true;
        }
    }

    public bool QueryDirty(ulong gpa, ulong size, Span<ulong> bitmap)
    {
        lock (_gone)
        {
            if (_memory.Find(gpa) is not { } region || !_dirty.TryGetValue(region, out var bits)) return false;
            _software!.CollectDirty(region, bits);
            var first = (gpa - region.Start) / MemoryRegion.PageSize;
            for (ulong page = 0; page < size / MemoryRegion.PageSize; page++)
            {
                ref var word = ref bits[(first + page) / 64];
                var bit = 1UL << (int)((first + page) % 64);
                if ((word & bit) != 0) bitmap[(int)(page / 64)] |= 1UL << (int)(page % 64);
                word &= ~bit;
            }

            return true;
        }
    }

    public bool RequestInterrupt(WHV_INTERRUPT_CONTROL interrupt)
    {
        var mode = (uint)(interrupt.Control & WHV_INTERRUPT_CONTROL.Type);
        if (mode is not (0 or 1 or 4 or 5 or 6) || (mode < 2 && interrupt.Vector is < 16 or > 255)) return false;
        _software!.Send(interrupt.Destination, (interrupt.Control & WHV_INTERRUPT_CONTROL.DestinationMode) != 0, false, mode, (byte)interrupt.Vector, (interrupt.Control & WHV_INTERRUPT_CONTROL.TriggerMode) != 0, null);
        return true;
    }

    bool IIntercepts.Port(int processor, ushort port, int size, bool write) => _processors[processor].InterceptPort(port, size, write);

    bool IIntercepts.Memory(int processor, ulong gpa, bool write) => _processors[processor].InterceptMemory(gpa, write);

    bool IIntercepts.Cpuid(int processor) => _processors[processor].InterceptCpuid();

    bool IIntercepts.Msr(int processor, uint index, bool write) => _processors[processor].InterceptMsr(index, write);

    public void Dispose()
    {
        if (_host is not null) _host.CodeWritten -= OnHostWrite;
        _clock.Dispose();
        _software?.Dispose();
        foreach (var region in _memory.Regions) region.Dispose();
        foreach (var region in _gone) region.Dispose();
        _self.Free();
    }

    private void OnHostWrite(ulong gpa, uint length)
    {
        if (_memory.Find(gpa) is not { } region) return;
        if ((region.GetFlags((gpa - region.Start) / MemoryRegion.PageSize) & PageFlags.Code) != 0) region.Written(gpa - region.Start, length);
    }
}
