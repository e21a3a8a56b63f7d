// PCI Local Bus Specification 3.0, 3.2.2 "Addressing" (who claims a transaction); PCI Firmware Specification 3.3, 4.6.1 (windows of a host bridge).
using Vmm.Core.Buses;

namespace Vmm.Devices.Pci;

/// <summary>
/// Decides which ranges the functions of a bus claim. The host bridge passes on nothing outside its windows, so a range that the guest
/// has put over memory, interrupt controllers, the ports of other chips or past the end of everything is not claimed, and does
/// no harm. Nor is one that overlaps a range which is claimed already: it waits until that one has gone.
/// Has a lock of its own, inside those of the functions; it calls none of them.
/// </summary>
internal sealed class PciDecoder(SystemBus bus, PciWindows windows)
{
    private readonly Lock _lock = new();
    private readonly List<PciBar> _waiting = [];

    /// <summary>The guest has put a range somewhere, or (null) switched it off.</summary>
    public void Place(PciBar bar, ulong? address)
    {
        lock (_lock)
        {
            if (bar.Wanted == address) return;
            bar.Wanted = address;
            _waiting.Remove(bar);
            var freed = Unmap(bar);
            if (address is not null && !TryMap(bar)) _waiting.Add(bar);
            if (freed) _waiting.RemoveAll(TryMap);
        }
    }

    private bool TryMap(PciBar bar)
    {
        var address = bar.Wanted!.Value;
        if (!windows.Contains(bar.IsIo, address, bar.Size)) return false;
        var space = bar.IsIo ? bus.Ports : bus.Mmio;
        if (!bar.IsIo && IsMemory(address, bar.Size)) return false;
        if (!space.TryMap(address, bar.Size, bar, bar.Gate)) return false;
        bar.Address = address;
        bar.Mapped = bar.DoorbellsAt(space, address);
        foreach (var doorbell in bar.Mapped) bus.AddDoorbell(doorbell);
        return true;
    }

    private bool Unmap(PciBar bar)
    {
        if (bar.Address is not { } address) return false;
        foreach (var doorbell in bar.Mapped) bus.RemoveDoorbell(doorbell);
        bar.Mapped = [];
        bar.Address = null;
        return (bar.IsIo ? bus.Ports : bus.Mmio).Unmap(address);
    }

    private bool IsMemory(ulong start, ulong length)
    {
        foreach (var region in bus.Memory.Regions)
        {
            if (start < region.End && region.Start < start + length) return true;
        }

        return false;
    }
}
