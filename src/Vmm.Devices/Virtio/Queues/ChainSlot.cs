// Virtio 1.3, 2.6.4 "Driver Requirements: Message Framing", 2.7.4.2, 2.7.5.2.
using Vmm.Core.Memory;

namespace Vmm.Devices.Virtio.Queues;

/// <summary>Where one descriptor chain is kept from the moment it is taken until it is completed: the guest cannot change it any more. Used again for later chains.</summary>
internal sealed class ChainSlot
{
    private const int FirstSegments = 8;

    private ChainSegment[] _segments = new ChainSegment[FirstSegments];
    private int _count;
    private int _readable;

    /// <summary>Counts the chains that were kept here, so that a chain which is completed twice, or too late, is known.</summary>
    public int Stamp { get; private set; }

    /// <summary>What the driver knows the chain by: its head descriptor (split), its buffer id (packed).</summary>
    public ushort Id { get; set; }

    /// <summary>How many descriptors of the ring it takes up (packed).</summary>
    public int RingSlots { get; set; }

    /// <summary>Whether a chain is here that was not completed.</summary>
    public bool InUse { get; private set; }

    /// <summary>Taken before a reset: its completion must not reach the guest.</summary>
    public bool IsStale { get; set; }

    /// <summary>Completed, but one that was taken before it is not (in-order).</summary>
    public bool IsDone { get; set; }

    /// <summary>Bytes that the device wrote, when it is done.</summary>
    public uint Written { get; set; }

    /// <summary>Whether memory of it was lent to host I/O that writes.</summary>
    public bool IsLent { get; set; }

    public ReadOnlySpan<ChainSegment> Readable => _segments.AsSpan(0, _readable);

    public ReadOnlySpan<ChainSegment> Writable => _segments.AsSpan(_readable, _count - _readable);

    public int Count => _count;

    public ulong ReadableLength { get; private set; }

    public ulong WritableLength { get; private set; }

    public void Begin()
    {
        Stamp++;
        (_count, _readable, ReadableLength, WritableLength) = (0, 0, 0, 0);
        (Id, RingSlots, Written) = (0, 0, 0);
        (InUse, IsStale, IsDone, IsLent) = (true, false, false, false);
    }

    public void End()
    {
        Stamp++;
        InUse = false;
    }

    /// <summary>Adds a descriptor's buffer. Returns what is wrong with it, or null.</summary>
    public string? Add(GuestMemory memory, ulong address, uint length, bool writable)
    {
        if (!writable && WritableLength != 0) return "a readable buffer comes after a writable one";
        if (length == 0) return null;
        if (address + (length - 1) < address) return "a buffer wraps around the address space";
        if (ReadableLength + WritableLength + length > VirtqueueLimits.ChainBytes) return "a chain is longer than 2^32 bytes";
        if (_count == VirtqueueLimits.Segments) return "a chain has too many buffers";
        if (!IsMemory(memory, address, length, writable)) return writable ? "a writable buffer is not in RAM" : "a buffer is not in memory";
        if (_count == _segments.Length) Array.Resize(ref _segments, _count * 2);
        _segments[_count++] = new ChainSegment(address, length);
        if (writable)
        {
            WritableLength += length;
        }
        else
        {
            ReadableLength += length;
            _readable = _count;
        }

        return null;
    }

    private static bool IsMemory(GuestMemory memory, ulong address, uint length, bool writable)
    {
        var end = address + length;
        while (address != end)
        {
            if (memory.Find(address) is not { } region || (writable && region.Kind != MemoryRegionKind.Ram)) return false;
            if (region.End - address >= end - address) return true;
            address = region.End;
        }

        return true;
    }
}
