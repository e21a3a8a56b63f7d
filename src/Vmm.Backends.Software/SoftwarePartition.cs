using System.Collections.Immutable;
using System.Runtime.InteropServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Translate;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.Time;
using Vmm.Core.X86;

namespace Vmm.Backends.Software;

/// <summary>The software CPU's side of one machine: its processors, and what they share.</summary>
internal sealed partial class SoftwarePartition : IPartition
{
    private readonly ImmutableArray<Vcpu> _vcpus;
    private readonly Action<ulong, uint> _codeWritten;
    private readonly Action<MemoryRegion> _regionsChanged;
    private int? _translateAfter, _codePart;
    private bool _disposed;

    /// <param name="options">What the machine asks for.</param>
    /// <param name="engine">How instructions are run.</param>
    /// <param name="translateAfter">Runs of a block in the interpreter before it is translated; null for what the environment says.</param>
    /// <param name="codePart">Bytes of either part of a region of translated code; null for what the environment says.</param>
    public SoftwarePartition(PartitionOptions options, CpuEngine engine = CpuEngine.Auto, int? translateAfter = Translator.DefaultThreshold, int? codePart = CodeMemory.DefaultPart)
    {
        (Engine, _translateAfter, _codePart, Single) = (SoftwareHypervisor.Resolve(engine), translateAfter, codePart, options.VcpuCount == 1);
        (Bus, Clock, Model, Kicked) = (options.Bus, options.Clock, options.CpuModel, options.Kicked);
        var vcpus = new Vcpu[options.VcpuCount];
        for (var i = 0; i < vcpus.Length; i++) vcpus[i] = new Vcpu(this, i, options.CpuModel);
        _vcpus = ImmutableCollectionsMarshal.AsImmutableArray(vcpus);
        Vcpus = vcpus.AsReadOnly();
        (_codeWritten, _regionsChanged) = (HostWroteCode, RegionsChanged);
        Memory.CodeWritten += _codeWritten;
        Memory.RegionAdded += _regionsChanged;
        Memory.RegionRemoved += _regionsChanged;
    }

    /// <summary>How instructions are run; never <see cref="CpuEngine.Auto"/>.</summary>
    public CpuEngine Engine { get; }

    /// <summary>Runs of a block in the interpreter before it is translated.</summary>
    public int TranslateAfter =>
        _translateAfter ??= int.TryParse(Environment.GetEnvironmentVariable("VMM_TRANSLATE_AFTER"), out var runs) ? runs : Translator.DefaultThreshold;

    /// <summary>Bytes of either part of a region of translated code.</summary>
    public int CodePart => _codePart ??= int.TryParse(Environment.GetEnvironmentVariable("VMM_CODE_PART"), out var bytes) ? bytes : CodeMemory.DefaultPart;

    /// <summary>There is one processor only.</summary>
    public bool Single { get; }

    /// <summary>Who decides some instructions himself; null for nobody.</summary>
    public IIntercepts? Intercepts { get; init; }

    public SystemBus Bus { get; }

    public GuestMemory Memory => Bus.Memory;

    public VmClock Clock { get; }

    public CpuModel Model { get; }

    /// <summary>Wakes the thread of a vCPU that waits.</summary>
    public Action<int>? Kicked { get; }

    /// <inheritdoc/>
    public HypervisorCapabilities Capabilities =>
        _vcpus[0].MayTranslate && !Clock.IsCounted ? SoftwareHypervisor.Capabilities & ~HypervisorCapabilities.InstructionCount : SoftwareHypervisor.Capabilities;

    /// <inheritdoc/>
    public IReadOnlyList<IVcpu> Vcpus { get; }

    /// <summary>The processors.</summary>
    public ImmutableArray<Vcpu> Processors => _vcpus;

    /// <summary>Held during a LOCKed operation that host atomics cannot do: across pages, or on I/O.</summary>
    public Lock SplitLock { get; } = new();

    /// <summary>Held during a 16-byte compare-exchange.</summary>
    public Lock WideLock { get; } = new();

    /// <inheritdoc/>
    public void SignalMsi(MsiMessage message)
    {
        if (message.Address >> 20 != 0xFEE) return;
        var destination = (uint)(message.Address >> 12) & 0xFF;
        Send(destination, (message.Address & 4) != 0, false, (message.Data >> 8) & 7, (byte)message.Data, (message.Data & 0x8000) != 0, null);
    }

    /// <summary>Delivers an interrupt to the local APICs that a destination names. Any thread.</summary>
    /// <param name="destination">APIC id or logical mask; all ones for all.</param>
    /// <param name="logical">Logical destination mode.</param>
    /// <param name="fromX2">32-bit destinations.</param>
    /// <param name="mode">Delivery mode; 1 (lowest priority) goes to one processor only.</param>
    /// <param name="vector">Vector.</param>
    /// <param name="level">Level-triggered.</param>
    /// <param name="except">A processor that does not get it.</param>
    public void Send(uint destination, bool logical, bool fromX2, uint mode, byte vector, bool level, Vcpu? except)
    {
        Vcpu? lowest = null;
        foreach (var vcpu in _vcpus)
        {
            if (vcpu == except || !vcpu.Apic.Matches(destination, logical, fromX2)) continue;
            if (mode != 1) vcpu.Apic.Accept(mode, vector, level);
            else if (lowest is null || vcpu.Apic.Priority < lowest.Apic.Priority) lowest = vcpu;
        }

        lowest?.Apic.Accept(0, vector, level);
    }

    /// <inheritdoc/>
    public void SetDirtyLog(MemoryRegion region, bool enabled)
    {
        for (ulong page = 0; page < region.Length / MemoryRegion.PageSize; page++)
        {
            if (enabled) region.SetFlags(page, PageFlags.Clean);
            else region.ClearFlags(page, PageFlags.Clean);
        }

        foreach (var vcpu in _vcpus) vcpu.RequestDropOfWrites();
    }

    /// <inheritdoc/>
    public void CollectDirty(MemoryRegion region, Span<ulong> pages)
    {
        var any = false;
        for (ulong page = 0; page < region.Length / MemoryRegion.PageSize; page++)
        {
            if ((region.GetFlags(page) & PageFlags.Clean) != 0) continue;
            region.SetFlags(page, PageFlags.Clean);
            pages[(int)(page / 64)] |= 1UL << (int)(page % 64);
            any = true;
        }

        if (!any) return;
        foreach (var vcpu in _vcpus) vcpu.RequestDropOfWrites();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        Memory.CodeWritten -= _codeWritten;
        Memory.RegionAdded -= _regionsChanged;
        Memory.RegionRemoved -= _regionsChanged;
        foreach (var vcpu in _vcpus) vcpu.Dispose();
        _translator?.Dispose();
        _code.Dispose();
    }
}
