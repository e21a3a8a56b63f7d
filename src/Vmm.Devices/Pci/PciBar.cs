// PCI Local Bus Specification 3.0, 6.2.5.1 "Address Maps".
using System.Numerics;
using Vmm.Core.Buses;

namespace Vmm.Devices.Pci;

/// <summary>
/// One range of addresses of a function, placed by the guest: areas, each served by a handler, and nothing between them. It sees accesses
/// of any size and alignment within its length. Made by <see cref="PciFunction.AddBar"/> when the function is made.
/// </summary>
public sealed class PciBar : IIoHandler
{
    private readonly List<(uint Start, uint End, IIoHandler Handler)> _areas = [];
    private readonly List<(uint Offset, int Size, ulong? Value, Action Ring)> _doorbells = [];
    private readonly PciFunction _function;

    internal PciBar(PciFunction function, int index, PciBarKind kind, ulong size)
    {
        var smallest = kind == PciBarKind.Io ? 4u : 16u;
        var largest = kind == PciBarKind.Io ? 256u : kind is PciBarKind.Memory32 or PciBarKind.Memory32Prefetchable ? 1UL << 31 : 1UL << 32;
        if (!BitOperations.IsPow2(size) || size < smallest || size > largest) throw new ArgumentOutOfRangeException(nameof(size), size, $"A BAR of kind {kind} takes a power of two from {smallest} to {largest} bytes.");
        (_function, Index, Kind, Size) = (function, index, kind, size);
    }

    /// <summary>Which register it is, 0 to 5.</summary>
    public int Index { get; }

    /// <summary>What it claims.</summary>
    public PciBarKind Kind { get; }

    /// <summary>Its length in bytes, a power of two.</summary>
    public ulong Size { get; }

    /// <summary>Where the guest has it now; null while it is not decoded, or lies where nothing may be.</summary>
    public ulong? Address { get; internal set; }

    internal bool IsIo => Kind == PciBarKind.Io;

    internal bool Is64 => Kind is PciBarKind.Memory64 or PciBarKind.Memory64Prefetchable;

    /// <summary>Where it shall be as far as its function is concerned; the decoder's own.</summary>
    internal ulong? Wanted { get; set; }

    /// <summary>Its doorbells while it is mapped; the decoder's own.</summary>
    internal Doorbell[] Mapped { get; set; } = [];

    /// <summary>The lock held around each access.</summary>
    internal object Gate => _function;

    /// <summary>Puts a handler's registers into the range. When the function is made.</summary>
    /// <param name="offset">Byte offset from the start of the range.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="handler">Serves them; it sees offsets from <paramref name="offset"/>, under the function's lock.</param>
    /// <exception cref="ArgumentException">The area does not fit, or overlaps another.</exception>
    public void Map(uint offset, uint length, IIoHandler handler)
    {
        ArgumentNullException.ThrowIfNull(handler);
        if (length == 0 || offset + (ulong)length > Math.Min(Size, uint.MaxValue)) throw new ArgumentException($"An area of 0x{length:x} bytes at 0x{offset:x} does not fit BAR {Index} of 0x{Size:x} bytes.", nameof(length));
        if (_areas.Exists(a => offset < a.End && a.Start < offset + length)) throw new ArgumentException($"The area at 0x{offset:x} of BAR {Index} overlaps another.", nameof(offset));
        _areas.Add((offset, offset + length, handler));
        _areas.Sort(static (a, b) => a.Start.CompareTo(b.Start));
    }

    /// <summary>Declares that a write is a doorbell (see <see cref="Doorbell"/>): it follows the range wherever the guest puts it. When the function is made.</summary>
    /// <param name="offset">Byte offset from the start of the range.</param>
    /// <param name="size">Bytes of the write.</param>
    /// <param name="value">The value that rings it; null for any.</param>
    /// <param name="ring">Called on any thread, without a lock held. The handler of the area must do the same when the write reaches it.</param>
    public void AddDoorbell(uint offset, int size, ulong? value, Action ring) => _doorbells.Add((offset, size, value, ring));

    /// <inheritdoc/>
    public ulong Read(uint offset, int size)
    {
        if (Find(offset, size) is { } area) return area.Handler.Read(offset - area.Start, size);
        ulong value = 0;
        for (var i = 0; i < size; i++)
        {
            var at = offset + (uint)i;
            if (at >= offset && Find(at, 1) is { } part) value |= (part.Handler.Read(at - part.Start, 1) & 0xFF) << (i * 8);
        }

        return value;
    }

    /// <inheritdoc/>
    public void Write(uint offset, int size, ulong value)
    {
        if (Find(offset, size) is { } area)
        {
            area.Handler.Write(offset - area.Start, size, value);
            return;
        }

        for (var i = 0; i < size; i++)
        {
            var at = offset + (uint)i;
            if (at >= offset && Find(at, 1) is { } part) part.Handler.Write(at - part.Start, 1, value >> (i * 8) & 0xFF);
        }
    }

    internal Doorbell[] DoorbellsAt(IoBus bus, ulong address) => [.. _doorbells.Select(d => new Doorbell(bus, address + d.Offset, d.Size, d.Value, d.Ring))];

    private (uint Start, uint End, IIoHandler Handler)? Find(uint offset, int size)
    {
        foreach (var area in _areas)
        {
            if (offset >= area.Start && offset < area.End) return area.End - offset >= (uint)size ? area : null;
        }

        return null;
    }
}
