// Virtio 1.3, 2.6.4 "Driver Requirements: Message Framing": a device must not assume anything of how a message is cut into buffers.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.Core.Memory;

namespace Vmm.Devices.Virtio.Queues;

/// <summary>
/// A request of the driver: readable bytes, then writable ones, wherever in guest memory they lie. Addresses and lengths were copied when it was
/// taken and do not change; the bytes behind them the guest may change at any time, so read each once. Valid until it is completed;
/// may be kept, and read and written by one thread at a time without the device's lock. After that, and after
/// <c>default</c>, it has no bytes.
/// </summary>
public readonly struct DescriptorChain
{
    private readonly ChainSlot? _slot;
    private readonly int _stamp;

    internal DescriptorChain(Virtqueue queue, ChainSlot slot)
    {
        (Queue, _slot, _stamp) = (queue, slot, slot.Stamp);
    }

    /// <summary>The queue that it came from.</summary>
    public Virtqueue? Queue { get; }

    /// <summary>Whether it was not completed yet.</summary>
    public bool IsPending => _slot is { } slot && slot.Stamp == _stamp;

    /// <summary>Whether a reset has come after it was taken: what becomes of it no longer matters, but it is still to be completed.</summary>
    public bool IsStale => IsPending && _slot!.IsStale;

    /// <summary>Bytes from the driver.</summary>
    public ulong ReadableLength => IsPending ? _slot!.ReadableLength : 0;

    /// <summary>Bytes of room for the device's answer.</summary>
    public ulong WritableLength => IsPending ? _slot!.WritableLength : 0;

    /// <summary>The buffers of the readable part.</summary>
    public ReadOnlySpan<ChainSegment> Readable => IsPending ? _slot!.Readable : [];

    /// <summary>The buffers of the writable part.</summary>
    public ReadOnlySpan<ChainSegment> Writable => IsPending ? _slot!.Writable : [];

    internal ChainSlot? Slot => IsPending ? _slot : null;

    /// <summary>Copies out of the readable part. False, with nothing promised of <paramref name="destination"/>, when it has not that many bytes.</summary>
    /// <param name="offset">Byte offset in the readable part.</param>
    /// <param name="destination">Receives the bytes.</param>
    public bool TryRead(ulong offset, Span<byte> destination)
    {
        if (offset > ReadableLength || (ulong)destination.Length > ReadableLength - offset) return false;
        var memory = Queue!.Memory;
        foreach (var segment in _slot!.Readable)
        {
            if (destination.IsEmpty) break;
            if (offset >= segment.Length)
            {
                offset -= segment.Length;
                continue;
            }

            var count = (int)Math.Min((ulong)destination.Length, segment.Length - offset);
            if (!memory.TryRead(segment.Address + offset, destination[..count])) return false;
            destination = destination[count..];
            offset = 0;
        }

        return true;
    }

    /// <summary>Copies into the writable part. False when it has not that much room.</summary>
    /// <param name="offset">Byte offset in the writable part.</param>
    /// <param name="source">The bytes.</param>
    public bool TryWrite(ulong offset, ReadOnlySpan<byte> source)
    {
        if (offset > WritableLength || (ulong)source.Length > WritableLength - offset) return false;
        var memory = Queue!.Memory;
        foreach (var segment in _slot!.Writable)
        {
            if (source.IsEmpty) break;
            if (offset >= segment.Length)
            {
                offset -= segment.Length;
                continue;
            }

            var count = (int)Math.Min((ulong)source.Length, segment.Length - offset);
            if (!memory.TryWrite(segment.Address + offset, source[..count])) return false;
            source = source[count..];
            offset = 0;
        }

        return true;
    }

    /// <summary>Reads a little-endian value or structure of the readable part; false when it has not that many bytes.</summary>
    /// <typeparam name="T">A blittable type.</typeparam>
    /// <param name="offset">Byte offset in the readable part.</param>
    /// <param name="value">The value, or zero.</param>
    [SkipLocalsInit]
    public bool TryRead<T>(ulong offset, out T value) where T : unmanaged
    {
        value = default;
        if (TryRead(offset, MemoryMarshal.AsBytes(new Span<T>(ref value)))) return true;
        value = default;
        return false;
    }

    /// <summary>Writes a little-endian value or structure into the writable part; false when it has not that much room.</summary>
    /// <typeparam name="T">A blittable type.</typeparam>
    /// <param name="offset">Byte offset in the writable part.</param>
    /// <param name="value">The value.</param>
    public bool TryWrite<T>(ulong offset, T value) where T : unmanaged => TryWrite(offset, MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));

    /// <summary>
    /// Lends the guest's memory itself for host I/O without a copy: see <see cref="GuestMemory.TryLend"/>. It stays valid, removed regions
    /// included, until the machine is disposed; what was written by way of it is accounted for when the chain is completed.
    /// </summary>
    /// <param name="writable">The writable part, or else the readable one.</param>
    /// <param name="offset">Byte offset in that part.</param>
    /// <param name="length">Bytes, which may be more than one piece has.</param>
    /// <param name="pieces">The pieces are appended here, in order.</param>
    /// <returns>False when the part has not that many bytes, or they are not memory any more; pieces may then have been appended.</returns>
    public bool TryLend(bool writable, ulong offset, ulong length, IList<Memory<byte>> pieces)
    {
        ArgumentNullException.ThrowIfNull(pieces);
        var total = writable ? WritableLength : ReadableLength;
        if (offset > total || length > total - offset) return false;
        var memory = Queue!.Memory;
        if (writable) _slot!.IsLent = true;
        foreach (var segment in writable ? _slot!.Writable : _slot!.Readable)
        {
            if (length == 0) break;
            if (offset >= segment.Length)
            {
                offset -= segment.Length;
                continue;
            }

            var count = Math.Min(length, segment.Length - offset);
            length -= count;
            for (var at = segment.Address + offset; count > 0;)
            {
                if (!memory.TryLend(at, (uint)Math.Min(count, int.MaxValue), writable, out var piece)) return false;
                pieces.Add(piece);
                at += (uint)piece.Length;
                count -= (uint)piece.Length;
            }

            offset = 0;
        }

        return true;
    }
}
