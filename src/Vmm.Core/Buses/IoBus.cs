using System.Collections.Immutable;

namespace Vmm.Core.Buses;

/// <summary>
/// One address space of I/O windows: the 64 Ki ports, or the memory-mapped addresses. Look-ups run on vCPU threads without
/// a lock of the bus: the table is immutable and swapped whole.
/// </summary>
public sealed class IoBus
{
    private sealed record Window(ulong Start, ulong End, IIoHandler Handler, object Gate);

    private readonly Lock _changes = new();
    private readonly ulong _limit;
    private Window[] _windows = [];
    private long _unclaimed;

    /// <summary>Makes an empty bus.</summary>
    /// <param name="name">For messages: "port" or "memory".</param>
    /// <param name="limit">The first address that does not exist; zero for 2^64.</param>
    public IoBus(string name, ulong limit)
    {
        Name = name;
        _limit = limit;
    }

    /// <summary>The name given at creation.</summary>
    public string Name { get; }

    /// <summary>Accesses (in chunks of at most 8 bytes) that no window claimed since the machine was made.</summary>
    public long Unclaimed => Volatile.Read(ref _unclaimed);

    /// <summary>The claimed ranges, sorted: first address, length, handler.</summary>
    public ImmutableArray<(ulong Start, ulong Length, IIoHandler Handler)> Windows => [.. _windows.Select(w => (w.Start, w.End - w.Start, w.Handler))];

    /// <summary>Claims a range of addresses.</summary>
    /// <param name="start">First address.</param>
    /// <param name="length">Number of addresses, 1 to 2^32.</param>
    /// <param name="handler">Serves the accesses.</param>
    /// <param name="gate">The lock held around each call: the device. Null takes the handler itself.</param>
    /// <exception cref="ArgumentException">The range is empty, too long, outside the bus, or overlaps one that is claimed.</exception>
    public void Map(ulong start, ulong length, IIoHandler handler, object? gate = null)
    {
        ArgumentNullException.ThrowIfNull(handler);
        var last = start + (length - 1);
        if (length is 0 or > 1UL << 32 || last < start || (_limit != 0 && last >= _limit))
        {
            throw new ArgumentException($"A {Name} window of 0x{length:x} at 0x{start:x} does not fit the {Name} space.", nameof(length));
        }

        lock (_changes)
        {
            if (Overlapped(start, last) is { } window)
            {
                throw new ArgumentException($"The {Name} window 0x{start:x}-0x{last:x} of {handler} overlaps 0x{window.Start:x}-0x{window.End - 1:x} of {window.Handler}.", nameof(start));
            }

            Insert(new Window(start, last + 1, handler, gate ?? handler));
        }
    }

    /// <summary>Claims a range of addresses that a guest has chosen.</summary>
    /// <param name="start">First address.</param>
    /// <param name="length">Number of addresses.</param>
    /// <param name="handler">Serves the accesses.</param>
    /// <param name="gate">The lock held around each call: the device. Null takes the handler itself.</param>
    /// <returns>False, with nothing changed, where <see cref="Map"/> would throw.</returns>
    public bool TryMap(ulong start, ulong length, IIoHandler handler, object? gate = null)
    {
        ArgumentNullException.ThrowIfNull(handler);
        var last = start + (length - 1);
        if (length is 0 or > 1UL << 32 || last < start || (_limit != 0 && last >= _limit)) return false;
        lock (_changes)
        {
            if (Overlapped(start, last) is not null) return false;
            Insert(new Window(start, last + 1, handler, gate ?? handler));
            return true;
        }
    }

    /// <summary>Gives a range back. A call that is under way on another thread may still finish.</summary>
    /// <param name="start">The first address it was claimed with.</param>
    /// <returns>Whether a window started there.</returns>
    public bool Unmap(ulong start)
    {
        lock (_changes)
        {
            var before = _windows.Length;
            _windows = [.. _windows.Where(w => w.Start != start)];
            return _windows.Length != before;
        }
    }

    /// <summary>Gives back every range whose accesses are served under a lock: a device has gone.</summary>
    /// <param name="gate">The device.</param>
    internal void UnmapAll(object gate)
    {
        lock (_changes) _windows = [.. _windows.Where(w => w.Gate != gate)];
    }

    /// <summary>A guest read. An address that nothing claims reads as ones; an access over the edge of a window is split into bytes.</summary>
    /// <param name="address">First address.</param>
    /// <param name="size">1, 2, 4 or 8 bytes.</param>
    public ulong Read(ulong address, int size)
    {
        if (Find(address, size) is { } window)
        {
            lock (window.Gate) return window.Handler.Read((uint)(address - window.Start), size) & Mask(size);
        }

        return ReadSlow(address, size);
    }

    /// <summary>A guest write. At an address that nothing claims it is dropped; an access over the edge of a window is split into bytes.</summary>
    /// <param name="address">First address.</param>
    /// <param name="size">1, 2, 4 or 8 bytes.</param>
    /// <param name="value">The value.</param>
    public void Write(ulong address, int size, ulong value)
    {
        if (Find(address, size) is { } window)
        {
            lock (window.Gate) window.Handler.Write((uint)(address - window.Start), size, value & Mask(size));
            return;
        }

        WriteSlow(address, size, value);
    }

    private static ulong Mask(int size) => size >= 8 ? ulong.MaxValue : (1UL << (size * 8)) - 1;

    private Window? Overlapped(ulong start, ulong last)
    {
        foreach (var window in _windows)
        {
            if (start < window.End && window.Start <= last) return window;
        }

        return null;
    }

    private void Insert(Window window)
    {
        var windows = new Window[_windows.Length + 1];
        var at = 0;
        while (at < _windows.Length && _windows[at].Start < window.Start) at++;
        Array.Copy(_windows, windows, at);
        windows[at] = window;
        Array.Copy(_windows, at, windows, at + 1, _windows.Length - at);
        _windows = windows;
    }

    private Window? Find(ulong address, int size)
    {
        var windows = _windows;
        int low = 0, high = windows.Length - 1;
        while (low <= high)
        {
            var middle = (low + high) >>> 1;
            var window = windows[middle];
            if (address < window.Start) high = middle - 1;
            else if (address > window.End - 1) low = middle + 1;
            else return window.End - address >= (uint)size ? window : null;
        }

        return null;
    }

    private ulong ReadSlow(ulong address, int size)
    {
        ulong value = 0;
        for (var i = 0; i < size; i++)
        {
            ulong part = 0xFF;
            if (Find(address + (uint)i, 1) is { } window)
            {
                lock (window.Gate) part = window.Handler.Read((uint)(address + (uint)i - window.Start), 1) & 0xFF;
            }
            else if (i == 0)
            {
                Interlocked.Increment(ref _unclaimed);
            }

            value |= part << (i * 8);
        }

        return value;
    }

    private void WriteSlow(ulong address, int size, ulong value)
    {
        for (var i = 0; i < size; i++)
        {
            if (Find(address + (uint)i, 1) is { } window)
            {
                lock (window.Gate) window.Handler.Write((uint)(address + (uint)i - window.Start), 1, (value >> (i * 8)) & 0xFF);
            }
            else if (i == 0)
            {
                Interlocked.Increment(ref _unclaimed);
            }
        }
    }
}
