namespace Vmm.Devices.Storage;

/// <summary>
/// A disk as a row of bytes, read and written by position. Members may be called from any thread and requests run concurrently;
/// two that overlap in time and place take effect in no particular order. A request that completed is visible to every later one,
/// and durable after a later <see cref="FlushAsync"/>. What the host cannot do is an <see cref="IOException"/>, what the image has
/// wrong an <see cref="ImageFormatException"/>, a range outside the disk an <see cref="ArgumentOutOfRangeException"/>.
/// Disposing flushes and closes; no request may be under way then.
/// </summary>
public interface IBlockStore : IAsyncDisposable
{
    /// <summary>The disk's size in bytes.</summary>
    long Length { get; }

    /// <summary>Whether everything that changes the disk is refused with <see cref="InvalidOperationException"/>.</summary>
    bool IsReadOnly { get; }

    /// <summary>Sizes that requests should keep to, for speed; any offset and length is served.</summary>
    BlockTopology Topology { get; }

    /// <summary>Reads a range.</summary>
    /// <param name="offset">Bytes from the start of the disk.</param>
    /// <param name="destination">Receives the bytes; in use until the task completes.</param>
    ValueTask ReadAsync(long offset, Memory<byte> destination);

    /// <summary>Reads a range into several pieces of memory, one after another.</summary>
    /// <param name="offset">Bytes from the start of the disk.</param>
    /// <param name="destinations">The pieces; the list and they are in use until the task completes.</param>
    ValueTask ReadAsync(long offset, IReadOnlyList<Memory<byte>> destinations);

    /// <summary>Writes a range.</summary>
    /// <param name="offset">Bytes from the start of the disk.</param>
    /// <param name="source">The bytes; in use until the task completes.</param>
    ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> source);

    /// <summary>Writes a range from several pieces of memory, one after another.</summary>
    /// <param name="offset">Bytes from the start of the disk.</param>
    /// <param name="sources">The pieces; the list and they are in use until the task completes.</param>
    ValueTask WriteAsync(long offset, IReadOnlyList<ReadOnlyMemory<byte>> sources);

    /// <summary>Makes every write that completed before the call durable.</summary>
    ValueTask FlushAsync();

    /// <summary>Tells that a range's contents are no longer needed. Afterwards whole blocks of it read as zeros or as before.</summary>
    /// <param name="offset">Bytes from the start of the disk.</param>
    /// <param name="length">Bytes.</param>
    ValueTask DiscardAsync(long offset, long length);

    /// <summary>Makes a range read as zeros.</summary>
    /// <param name="offset">Bytes from the start of the disk.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="mayUnmap">Whether the space may be given back to the host.</param>
    ValueTask WriteZeroesAsync(long offset, long length, bool mayUnmap = true);

    /// <summary>Changes the disk's size. What is added reads as zeros. No request beyond the new end may be under way.</summary>
    /// <param name="length">The new size in bytes.</param>
    ValueTask ResizeAsync(long length);

    /// <summary>Tells how far from an offset the disk is of one kind: zeros that take no space, or data. A hint for copying and reports.</summary>
    /// <param name="offset">Bytes from the start of the disk.</param>
    /// <param name="length">How far to look at most, at least 1.</param>
    ValueTask<BlockExtent> GetExtentAsync(long offset, long length);
}
