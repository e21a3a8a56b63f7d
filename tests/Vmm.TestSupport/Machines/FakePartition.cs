using System.Collections.Concurrent;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Memory;

namespace Vmm.TestSupport.Machines;

/// <summary>The partition of a <see cref="FakeHypervisor"/>: records what it is told.</summary>
public sealed class FakePartition : IPartition
{
    public FakePartition(PartitionOptions options, Func<FakeVcpu, VcpuStop> script, HypervisorCapabilities capabilities)
    {
        (Options, Capabilities) = (options, capabilities);
        Fakes = [.. Enumerable.Range(0, options.VcpuCount).Select(i => new FakeVcpu(this, i, script))];
    }

    public PartitionOptions Options { get; }

    public HypervisorCapabilities Capabilities { get; }

    public FakeVcpu[] Fakes { get; }

    public IReadOnlyList<IVcpu> Vcpus => Fakes;

    public ConcurrentQueue<MsiMessage> Messages { get; } = new();

    public bool IsDisposed { get; private set; }

    public void SignalMsi(MsiMessage message) => Messages.Enqueue(message);

    public void SetDirtyLog(MemoryRegion region, bool enabled) => throw new InvalidOperationException("No dirty log.");

    public void CollectDirty(MemoryRegion region, Span<ulong> pages) => throw new InvalidOperationException("No dirty log.");

    public void Dispose()
    {
        if (Array.Exists(Fakes, f => f.IsRunning)) throw new InvalidOperationException("Disposed while a vCPU runs.");
        IsDisposed = true;
    }
}
