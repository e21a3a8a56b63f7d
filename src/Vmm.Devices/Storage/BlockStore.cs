namespace Vmm.Devices.Storage;

/// <summary>
/// A store's common half: checks ranges and rights, and passes lists of pieces on one by one. A store overrides what it does better.
/// </summary>
public abstract class BlockStore : IBlockStore
{
    /// <inheritdoc/>
    public abstract long Length { get; }

    /// <inheritdoc/>
    public abstract bool IsReadOnly { get; }

    /// <inheritdoc/>
    public virtual BlockTopology Topology => BlockTopology.Default;

    /// <inheritdoc/>
    public ValueTask ReadAsync(long offset, Memory<byte> destination)
    {
        CheckRange(offset, destination.Length);
        return destination.IsEmpty ? default : ReadCoreAsync(offset, destination);
    }

    /// <inheritdoc/>
    public ValueTask ReadAsync(long offset, IReadOnlyList<Memory<byte>> destinations)
    {
        ArgumentNullException.ThrowIfNull(destinations);
        CheckRange(offset, BlockPieces.Length(destinations));
        return destinations.Count switch
        {
            0 => default,
            1 => ReadCoreAsync(offset, destinations[0]),
            _ => ReadCoreAsync(offset, destinations),
        };
    }

    /// <inheritdoc/>
    public ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> source)
    {
        CheckWrite(offset, source.Length);
        return source.IsEmpty ? default : WriteCoreAsync(offset, source);
    }

    /// <inheritdoc/>
    public ValueTask WriteAsync(long offset, IReadOnlyList<ReadOnlyMemory<byte>> sources)
    {
        ArgumentNullException.ThrowIfNull(sources);
        CheckWrite(offset, BlockPieces.Length(sources));
        return sources.Count switch
        {
            0 => default,
            1 => WriteCoreAsync(offset, sources[0]),
            _ => WriteCoreAsync(offset, sources),
        };
    }

    /// <inheritdoc/>
    public abstract ValueTask FlushAsync();

    /// <inheritdoc/>
    public ValueTask DiscardAsync(long offset, long length)
    {
        CheckWrite(offset, length);
        return length == 0 ? default : DiscardCoreAsync(offset, length);
    }

    /// <inheritdoc/>
    public ValueTask WriteZeroesAsync(long offset, long length, bool mayUnmap = true)
    {
        CheckWrite(offset, length);
        return length == 0 ? default : WriteZeroesCoreAsync(offset, length, mayUnmap);
    }

    /// <inheritdoc/>
    public ValueTask ResizeAsync(long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        CheckWrite(0, 0);
        return length == Length ? default : ResizeCoreAsync(length);
    }

    /// <inheritdoc/>
    public ValueTask<BlockExtent> GetExtentAsync(long offset, long length)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1);
        CheckRange(offset, length);
        return ExtentCoreAsync(offset, length);
    }

    /// <inheritdoc/>
    public abstract ValueTask DisposeAsync();

    /// <summary>Reads a range that was checked and is not empty.</summary>
    /// <param name="offset">Bytes from the start of the disk.</param>
    /// <param name="destination">Receives the bytes.</param>
    protected abstract ValueTask ReadCoreAsync(long offset, Memory<byte> destination);

    /// <summary>Reads a range that was checked.</summary>
    /// <param name="offset">Bytes from the start of the disk.</param>
    /// <param name="destinations">Two pieces or more.</param>
    protected virtual async ValueTask ReadCoreAsync(long offset, IReadOnlyList<Memory<byte>> destinations)
    {
        for (var i = 0; i < destinations.Count; i++)
        {
            if (!destinations[i].IsEmpty) await ReadCoreAsync(offset, destinations[i]).ConfigureAwait(false);
            offset += destinations[i].Length;
        }
    }

    /// <summary>Writes a range that was checked and is not empty, in a store that is not read-only.</summary>
    /// <param name="offset">Bytes from the start of the disk.</param>
    /// <param name="source">The bytes.</param>
    protected abstract ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> source);

    /// <summary>Writes a range that was checked, in a store that is not read-only.</summary>
    /// <param name="offset">Bytes from the start of the disk.</param>
    /// <param name="sources">Two pieces or more.</param>
    protected virtual async ValueTask WriteCoreAsync(long offset, IReadOnlyList<ReadOnlyMemory<byte>> sources)
    {
        for (var i = 0; i < sources.Count; i++)
        {
            if (!sources[i].IsEmpty) await WriteCoreAsync(offset, sources[i]).ConfigureAwait(false);
            offset += sources[i].Length;
        }
    }

    /// <summary>Discards a range that was checked and is not empty; does nothing by default.</summary>
    /// <param name="offset">Bytes from the start of the disk.</param>
    /// <param name="length">Bytes.</param>
    protected virtual ValueTask DiscardCoreAsync(long offset, long length) => default;

    /// <summary>Zeroes a range that was checked and is not empty; writes zeros by default.</summary>
    /// <param name="offset">Bytes from the start of the disk.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="mayUnmap">Whether the space may be given back.</param>
    protected virtual async ValueTask WriteZeroesCoreAsync(long offset, long length, bool mayUnmap)
    {
        ReadOnlyMemory<byte> zeros = new byte[(int)Math.Min(length, 1 << 16)];
        while (length > 0)
        {
            var count = (int)Math.Min(length, zeros.Length);
            await WriteCoreAsync(offset, zeros[..count]).ConfigureAwait(false);
            (offset, length) = (offset + count, length - count);
        }
    }

    /// <summary>Changes the size of a store that is not read-only.</summary>
    /// <param name="length">The new size in bytes, another than the present one.</param>
    protected abstract ValueTask ResizeCoreAsync(long length);

    /// <summary>The kind of a range that was checked and is not empty; data by default.</summary>
    /// <param name="offset">Bytes from the start of the disk.</param>
    /// <param name="length">Bytes.</param>
    protected virtual ValueTask<BlockExtent> ExtentCoreAsync(long offset, long length) => new(new BlockExtent(length, false));

    private void CheckRange(long offset, long length)
    {
        if (offset < 0 || length < 0 || offset > Length - length) ThrowOutside(offset, length);
    }

    private void CheckWrite(long offset, long length)
    {
        if (IsReadOnly) throw new InvalidOperationException("The disk is read-only: open it for writing, or lay an overlay over it.");
        CheckRange(offset, length);
    }

    private void ThrowOutside(long offset, long length) =>
        throw new ArgumentOutOfRangeException(nameof(offset), $"The range of {length} bytes at {offset} is outside the disk of {Length} bytes.");
}
