using Vmm.Core.Buses;
using Vmm.Core.Memory;

namespace Vmm.Core.Backends;

/// <summary>
/// A backend's side of one machine: mapped memory, vCPUs with their local APICs, and the way interrupts reach them. It
/// follows <see cref="GuestMemory.RegionAdded"/> and <see cref="GuestMemory.RegionRemoved"/> of its bus by itself.
/// Disposed last, when no vCPU runs.
/// </summary>
public interface IPartition : IDisposable
{
    /// <summary>What this partition can do.</summary>
    HypervisorCapabilities Capabilities { get; }

    /// <summary>The vCPUs, by index; vCPU 0 is the bootstrap processor, whose local APIC id is 0.</summary>
    IReadOnlyList<IVcpu> Vcpus { get; }

    /// <summary>Delivers a message-signalled interrupt to the local APICs. Any thread; does not block.</summary>
    /// <param name="message">The message, as an IOAPIC or a device writes it. A malformed one is dropped.</param>
    void SignalMsi(MsiMessage message);

    /// <summary>Starts or stops the log of guest writes to a region. Starting makes every page clean.</summary>
    /// <param name="region">A mapped region.</param>
    /// <param name="enabled">Log or not.</param>
    /// <exception cref="InvalidOperationException">The partition lacks <see cref="HypervisorCapabilities.DirtyLog"/>.</exception>
    void SetDirtyLog(MemoryRegion region, bool enabled);

    /// <summary>Adds the pages written since the last collection, by guest or host, to a bitmap and makes them clean.</summary>
    /// <param name="region">A region whose log is on.</param>
    /// <param name="pages">One bit a page, page 0 in bit 0 of word 0; bits are only ever set.</param>
    void CollectDirty(MemoryRegion region, Span<ulong> pages);
}
