// PCI Firmware Specification 3.3, 4.6.1: what a host bridge forwards to its bus, as _CRS tells.
namespace Vmm.Devices.Pci;

/// <summary>The addresses behind a host bridge. The firmware or the guest's kernel places ranges in them.</summary>
/// <param name="EcamBase">Guest-physical address of the memory-mapped configuration space of bus 0, 1 MiB.</param>
/// <param name="IoStart">The first port.</param>
/// <param name="IoEnd">The first port after the window.</param>
/// <param name="LowStart">The first address of the window below 4 GiB.</param>
/// <param name="LowEnd">The first address after it.</param>
/// <param name="HighStart">The first address of the window above 4 GiB.</param>
/// <param name="HighEnd">The first address after it.</param>
public sealed record PciWindows(ulong EcamBase, uint IoStart, uint IoEnd, ulong LowStart, ulong LowEnd, ulong HighStart, ulong HighEnd)
{
    /// <summary>Bytes of memory-mapped configuration space.</summary>
    public const uint EcamLength = 1 << 20;

    internal bool Contains(bool io, ulong start, ulong length) => io
        ? IsInside(start, length, IoStart, IoEnd)
        : IsInside(start, length, LowStart, LowEnd) || IsInside(start, length, HighStart, HighEnd);

    private static bool IsInside(ulong start, ulong length, ulong from, ulong to) => start >= from && start < to && length <= to - start;
}
