using System.Collections.Concurrent;
using Vmm.Core.Buses;

namespace Vmm.Backends.Conformance.Guests;

/// <summary>One access to a <see cref="Recorder"/>.</summary>
public readonly record struct BusAccess(bool IsWrite, uint Offset, int Size, ulong Value);

/// <summary>A device that keeps a list of its accesses and whose bytes can be told apart: byte n reads as 0xA0 + n.</summary>
public sealed class Recorder : IIoHandler
{
    private readonly ConcurrentQueue<BusAccess> _accesses = new();

    /// <summary>What happened, in order.</summary>
    public BusAccess[] Accesses => [.. _accesses];

    /// <summary>The writes alone.</summary>
    public BusAccess[] Writes => [.. _accesses.Where(a => a.IsWrite)];

    /// <summary>What a read of <paramref name="size"/> bytes gives.</summary>
    public static ulong Pattern(uint offset, int size)
    {
        ulong value = 0;
        for (var i = 0; i < size; i++) value |= (ulong)(byte)(0xA0 + offset + i) << (i * 8);
        return value;
    }

    /// <summary>A write as the recorder sees it.</summary>
    public static BusAccess Write(uint offset, int size, ulong value) => new(true, offset, size, value);

    /// <summary>A read as the recorder sees it.</summary>
    public static BusAccess Read(uint offset, int size) => new(false, offset, size, Pattern(offset, size));

    ulong IIoHandler.Read(uint offset, int size)
    {
        var value = Pattern(offset, size);
        _accesses.Enqueue(new BusAccess(false, offset, size, value));
        return value;
    }

    void IIoHandler.Write(uint offset, int size, ulong value) => _accesses.Enqueue(new BusAccess(true, offset, size, value));
}
