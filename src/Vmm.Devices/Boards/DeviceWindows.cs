using System.Collections.Immutable;
using Vmm.Core.Boards;
using Vmm.Core.Memory;

namespace Vmm.Devices.Boards;

/// <summary>The area of memory-mapped windows that a board hands out to devices, with the interrupts 16 to 23 in turn; later devices share them.</summary>
internal sealed class DeviceWindows(ulong start, ulong length, GsiRouter router)
{
    private const int FirstGsi = 16, GsiCount = 8;

    private readonly List<(string? AcpiId, BoardSlot Slot)> _placed = [];
    private readonly ulong _end = start + length;
    private ulong _next = start;

    /// <summary>The windows handed out, with the ACPI ids under which to describe them.</summary>
    public ImmutableArray<(string? AcpiId, BoardSlot Slot)> Placed => [.. _placed];

    public BoardSlot Place(string name, uint size, string? acpiId)
    {
        var bytes = ((ulong)size + MemoryRegion.PageSize - 1) & ~(ulong)(MemoryRegion.PageSize - 1);
        if (size == 0 || bytes > _end - _next) throw new InvalidOperationException($"No window of 0x{size:x} bytes is left for '{name}' below 0x{_end:x}; use fewer devices.");
        var gsi = FirstGsi + _placed.Count % GsiCount;
        var slot = new BoardSlot(_next, (uint)bytes, gsi, router.Line(gsi));
        _placed.Add((acpiId, slot));
        _next += bytes;
        return slot;
    }
}
