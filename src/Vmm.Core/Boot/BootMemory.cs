using System.Globalization;
using Vmm.Core.Memory;

namespace Vmm.Core.Boot;

/// <summary>
/// The RAM that a loader may still use: what the memory map calls RAM and the machine really has, less all that overlaps
/// anything else in the map, less what was reserved. Ranges are half-open; all arithmetic is safe against overflow.
/// </summary>
internal sealed class BootMemory
{
    private const ulong AddressLimit = 1UL << 52;

    // Sorted by address, disjoint, none empty.
    private readonly List<(ulong Start, ulong End)> _free = [];
    private readonly List<(ulong Start, ulong End, string What)> _taken = [];

    /// <summary>The free RAM of a machine whose boot tables are in place.</summary>
    public BootMemory(BootContext context)
    {
        List<(ulong Start, ulong End)> ram = [];
        foreach (var entry in context.MemoryMap)
        {
            if (entry.Type != MemoryMapType.Ram) continue;
            var (start, end) = Range(entry.Start, entry.Length);
            foreach (var region in context.Memory.Regions)
            {
                var (from, to) = (Math.Max(start, region.Start), Math.Min(end, region.End));
                if (region.Kind == MemoryRegionKind.Ram && from < to) ram.Add((from, to));
            }
        }

        ram.Sort();
        foreach (var (start, end) in ram)
        {
            if (_free.Count > 0 && start <= _free[^1].End) _free[^1] = (_free[^1].Start, Math.Max(_free[^1].End, end));
            else _free.Add((start, end));
        }

        foreach (var entry in context.MemoryMap)
        {
            if (entry.Type == MemoryMapType.Ram || entry.Length == 0) continue;
            var (start, end) = Range(entry.Start, entry.Length);
            Remove(start, end);
        }

        // A board that left the root pointer inside RAM still means it to be found.
        if (context.RsdpAddress is var rsdp and > 0 and < AddressLimit) Remove(rsdp & ~0xFFFUL, (rsdp & ~0xFFFUL) + 0x1000);
        RamEnd = ram.Count == 0 ? 0 : ram.Max(r => r.End);
    }

    /// <summary>The first address past all RAM.</summary>
    public ulong RamEnd { get; }

    /// <summary>Whether a whole range is free.</summary>
    public bool IsFree(ulong start, ulong length) =>
        length > 0 && length <= AddressLimit && _free.Exists(f => f.Start <= start && start < f.End && length <= f.End - start);

    /// <summary>Takes exactly this range. False, with nothing changed, unless all of it is free. An empty range is always had.</summary>
    public bool TryReserve(ulong start, ulong length, string what)
    {
        if (length == 0) return true;
        if (!IsFree(start, length)) return false;
        Remove(start, start + length);
        _taken.Add((start, start + length, what));
        return true;
    }

    /// <summary>Finds and takes a free range.</summary>
    /// <param name="length">Bytes, not zero.</param>
    /// <param name="alignment">A power of two.</param>
    /// <param name="min">The lowest start.</param>
    /// <param name="limit">The range ends at or before this address.</param>
    /// <param name="highest">The highest place instead of the lowest.</param>
    /// <param name="what">What it is for, for messages.</param>
    /// <param name="start">The range's start.</param>
    public bool TryAllocate(ulong length, ulong alignment, ulong min, ulong limit, bool highest, string what, out ulong start)
    {
        start = 0;
        if (length is 0 or > AddressLimit || alignment > AddressLimit) return false;
        for (var i = 0; i < _free.Count; i++)
        {
            var free = _free[highest ? _free.Count - 1 - i : i];
            var (from, to) = (Math.Max(free.Start, min), Math.Min(free.End, limit));
            // Both are at most 2^52 from here on: free ranges lie below it.
            if (from >= to || to - from < length) continue;
            start = highest ? (to - length) & ~(alignment - 1) : (from + alignment - 1) & ~(alignment - 1);
            if (start >= from && start <= to - length) return TryReserve(start, length, what);
        }

        return false;
    }

    /// <summary>Says what stands in the way of a range, for messages.</summary>
    public string Obstacle(ulong start, ulong length)
    {
        var end = length > ulong.MaxValue - start ? ulong.MaxValue : start + length;
        foreach (var (from, to, what) in _taken)
        {
            if (from < end && start < to) return $"it overlaps {what} at {Hex(from)}-{Hex(to - 1)}";
        }

        return $"it is not all free RAM; {Describe()}";
    }

    /// <summary>The free ranges, for messages.</summary>
    public string Describe() => _free.Count == 0
        ? "no RAM is free"
        : $"free RAM is {string.Join(", ", _free.Take(6).Select(f => $"{Hex(f.Start)}-{Hex(f.End - 1)}"))}{(_free.Count > 6 ? ", ..." : "")}";

    internal static string Hex(ulong value) => string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");

    private static (ulong Start, ulong End) Range(ulong start, ulong length)
    {
        if (start >= AddressLimit) return (AddressLimit, AddressLimit);
        return (start, start + Math.Min(length, AddressLimit - start));
    }

    private void Remove(ulong start, ulong end)
    {
        for (var i = _free.Count - 1; i >= 0; i--)
        {
            var free = _free[i];
            if (end <= free.Start || free.End <= start) continue;
            _free.RemoveAt(i);
            if (end < free.End) _free.Insert(i, (end, free.End));
            if (free.Start < start) _free.Insert(i, (free.Start, start));
        }
    }
}
