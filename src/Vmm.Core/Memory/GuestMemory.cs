using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Core.Memory;

/// <summary>
/// The guest-physical address space: a sorted set of regions that do not overlap. Devices reach guest memory through the
/// <c>Try...</c> methods only: they copy, check every address, and never throw on what a guest asked for.
/// Multi-byte values are little-endian, as the guest's are.
/// </summary>
public sealed partial class GuestMemory
{
    private readonly Lock _changes = new();
    private ImmutableArray<MemoryRegion> _regions = [];
    private Action<ulong, uint>? _codeWritten;

    /// <summary>All regions, sorted by address.</summary>
    public ImmutableArray<MemoryRegion> Regions => _regions;

    /// <summary>The sum of all RAM regions, in bytes.</summary>
    public ulong RamSize => _regions.Where(r => r.Kind == MemoryRegionKind.Ram).Aggregate(0UL, (sum, r) => sum + r.Length);

    /// <summary>Raised, under an internal lock, after a region was added.</summary>
    public event Action<MemoryRegion>? RegionAdded;

    /// <summary>Raised, under an internal lock, before a region's removal returns; its memory stays valid until the machine is disposed.</summary>
    public event Action<MemoryRegion>? RegionRemoved;

    /// <summary>Raised with a guest-physical address and a number of bytes, all of one page, when the host (a device, a loader) has written them in a page that holds cached guest code.</summary>
    public event Action<ulong, uint>? CodeWritten;

    /// <summary>Puts a region into the address space.</summary>
    /// <param name="region">The region; its owner keeps it valid until it is removed or the machine is disposed.</param>
    /// <exception cref="ArgumentException">It overlaps a region that is there, or its name is taken.</exception>
    /// <exception cref="Errors.HypervisorException">The backend cannot map it; it was not added.</exception>
    public void Add(MemoryRegion region)
    {
        lock (_changes)
        {
            var place = 0;
            foreach (var other in _regions)
            {
                if (other.Start < region.Start) place++;
                if (region.Start < other.End && other.Start < region.End) throw new ArgumentException($"Region [{region}] overlaps region [{other}]; move one of them.", nameof(region));
                if (region.Name == other.Name) throw new ArgumentException($"There is a region called '{region.Name}' already; give each region a name of its own.", nameof(region));
            }

            region.CodeWritten = _codeWritten ??= (gpa, length) => CodeWritten?.Invoke(gpa, length);
            var before = _regions;
            _regions = _regions.Insert(place, region);
            try
            {
                RegionAdded?.Invoke(region);
            }
            catch
            {
                // A backend could not map it.
                _regions = before;
                throw;
            }
        }
    }

    /// <summary>Takes a region out of the address space.</summary>
    /// <param name="region">A region that was added.</param>
    /// <returns>Whether it was there.</returns>
    public bool Remove(MemoryRegion region)
    {
        lock (_changes)
        {
            var kept = _regions.Remove(region);
            if (kept.Length == _regions.Length) return false;
            _regions = kept;
            RegionRemoved?.Invoke(region);
            return true;
        }
    }

    /// <summary>The region that holds an address, or null.</summary>
    /// <param name="gpa">Guest-physical address.</param>
    public MemoryRegion? Find(ulong gpa)
    {
        var regions = _regions;
        int low = 0, high = regions.Length - 1;
        while (low <= high)
        {
            var middle = (low + high) >>> 1;
            var region = regions[middle];
            if (gpa < region.Start) high = middle - 1;
            else if (gpa >= region.End) low = middle + 1;
            else return region;
        }

        return null;
    }

    /// <summary>Copies out of guest memory. False, with nothing promised of <paramref name="destination"/>, unless the whole range is RAM or ROM.</summary>
    /// <param name="gpa">Guest-physical address of the first byte.</param>
    /// <param name="destination">Receives the bytes.</param>
    public bool TryRead(ulong gpa, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            if (Find(gpa) is not { } region) return false;
            var count = (int)Math.Min((ulong)destination.Length, region.End - gpa);
            region.Span(gpa - region.Start, count).CopyTo(destination);
            destination = destination[count..];
            gpa += (uint)count;
        }

        return true;
    }

    /// <summary>Copies into guest RAM. False, with nothing written, unless the whole range is RAM.</summary>
    /// <param name="gpa">Guest-physical address of the first byte.</param>
    /// <param name="source">The bytes.</param>
    public bool TryWrite(ulong gpa, ReadOnlySpan<byte> source)
    {
        if (!IsRam(gpa, (ulong)source.Length)) return false;
        while (!source.IsEmpty)
        {
            if (Find(gpa) is not { Kind: MemoryRegionKind.Ram } region) return false;
            var count = (int)Math.Min((ulong)source.Length, region.End - gpa);
            region.Write(gpa - region.Start, source[..count]);
            source = source[count..];
            gpa += (uint)count;
        }

        return true;
    }

    /// <summary>Fills guest RAM with one byte value. False, with nothing written, unless the whole range is RAM.</summary>
    /// <param name="gpa">Guest-physical address of the first byte.</param>
    /// <param name="length">Bytes to fill.</param>
    /// <param name="value">The value.</param>
    public bool TryFill(ulong gpa, ulong length, byte value)
    {
        if (!IsRam(gpa, length)) return false;
        while (length > 0)
        {
            if (Find(gpa) is not { Kind: MemoryRegionKind.Ram } region) return false;
            var count = (int)Math.Min(Math.Min(length, region.End - gpa), 1 << 30);
            region.Span(gpa - region.Start, count).Fill(value);
            region.Written(gpa - region.Start, (uint)count);
            length -= (uint)count;
            gpa += (uint)count;
        }

        return true;
    }

    /// <summary>Reads one value; see <see cref="TryRead(ulong, Span{byte})"/>. A naturally aligned value of up to 8 bytes is read at once.</summary>
    /// <typeparam name="T">A blittable type.</typeparam>
    /// <param name="gpa">Guest-physical address.</param>
    /// <param name="value">The value, or zero.</param>
    [SkipLocalsInit]
    public bool TryRead<T>(ulong gpa, out T value) where T : unmanaged
    {
        value = default;
        if (Find(gpa) is { } region && region.End - gpa >= (uint)Unsafe.SizeOf<T>())
        {
            value = MemoryMarshal.Read<T>(region.Span(gpa - region.Start, Unsafe.SizeOf<T>()));
            return true;
        }

        return TryRead(gpa, MemoryMarshal.AsBytes(new Span<T>(ref value)));
    }

    /// <summary>Writes one value; see <see cref="TryWrite(ulong, ReadOnlySpan{byte})"/>. A naturally aligned value of up to 8 bytes is written at once.</summary>
    /// <typeparam name="T">A blittable type.</typeparam>
    /// <param name="gpa">Guest-physical address.</param>
    /// <param name="value">The value.</param>
    public bool TryWrite<T>(ulong gpa, T value) where T : unmanaged
    {
        if (Find(gpa) is { Kind: MemoryRegionKind.Ram } region && region.End - gpa >= (uint)Unsafe.SizeOf<T>())
        {
            MemoryMarshal.Write(region.Span(gpa - region.Start, Unsafe.SizeOf<T>()), value);
            region.Written(gpa - region.Start, (uint)Unsafe.SizeOf<T>());
            return true;
        }

        return TryWrite(gpa, MemoryMarshal.AsBytes(new ReadOnlySpan<T>(ref value)));
    }

    /// <summary>Whether a whole range is RAM. An empty range is.</summary>
    /// <param name="gpa">Guest-physical address of the first byte.</param>
    /// <param name="length">Bytes; the sum may not pass 2^64.</param>
    public bool IsRam(ulong gpa, ulong length)
    {
        while (length > 0)
        {
            if (Find(gpa) is not { Kind: MemoryRegionKind.Ram } region) return false;
            var count = Math.Min(length, region.End - gpa);
            length -= count;
            gpa += count;
        }

        return true;
    }
}
