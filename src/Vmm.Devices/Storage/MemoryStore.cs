using System.Collections.Concurrent;

namespace Vmm.Devices.Storage;

/// <summary>A disk in the host's memory. It takes space for the blocks of 64 KiB that hold something other than zeros, and is gone when it is disposed.</summary>
public sealed class MemoryStore : BlockStore
{
    private const int BlockSize = 1 << 16;

    private readonly ConcurrentDictionary<long, byte[]> _blocks = new();
    private long _length;

    /// <summary>Makes a disk of zeros.</summary>
    /// <param name="length">Its size in bytes.</param>
    /// <param name="isReadOnly">Whether changes are refused.</param>
    public MemoryStore(long length, bool isReadOnly = false)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        (_length, IsReadOnly) = (length, isReadOnly);
    }

    /// <summary>Makes a disk with a copy of some bytes on it.</summary>
    /// <param name="contents">The bytes.</param>
    /// <param name="isReadOnly">Whether changes are refused.</param>
    public MemoryStore(ReadOnlySpan<byte> contents, bool isReadOnly = false) : this(contents.Length, isReadOnly)
    {
        for (var at = 0; at < contents.Length; at += BlockSize)
        {
            var piece = contents[at..Math.Min(at + BlockSize, contents.Length)];
            if (!BlockPieces.IsZero(piece)) piece.CopyTo(_blocks.GetOrAdd(at / BlockSize, static _ => new byte[BlockSize]));
        }
    }

    /// <inheritdoc/>
    public override long Length => Volatile.Read(ref _length);

    /// <inheritdoc/>
    public override bool IsReadOnly { get; }

    /// <inheritdoc/>
    public override BlockTopology Topology => new(512, 512, 0, BlockSize);

    /// <summary>Bytes of host memory that hold the disk's contents now.</summary>
    public long AllocatedBytes => (long)_blocks.Count * BlockSize;

    /// <inheritdoc/>
    public override ValueTask FlushAsync() => default;

    /// <inheritdoc/>
    public override ValueTask DisposeAsync()
    {
        _blocks.Clear();
        return default;
    }

    /// <inheritdoc/>
    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> destination)
    {
        var rest = destination.Span;
        while (!rest.IsEmpty)
        {
            var (block, at) = Math.DivRem(offset, BlockSize);
            var count = (int)Math.Min(rest.Length, BlockSize - at);
            if (_blocks.TryGetValue(block, out var bytes)) bytes.AsSpan((int)at, count).CopyTo(rest);
            else rest[..count].Clear();
            rest = rest[count..];
            offset += count;
        }

        return default;
    }

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> source)
    {
        var rest = source.Span;
        while (!rest.IsEmpty)
        {
            var (block, at) = Math.DivRem(offset, BlockSize);
            var count = (int)Math.Min(rest.Length, BlockSize - at);
            rest[..count].CopyTo(_blocks.GetOrAdd(block, static _ => new byte[BlockSize]).AsSpan((int)at));
            rest = rest[count..];
            offset += count;
        }

        return default;
    }

    /// <inheritdoc/>
    protected override ValueTask DiscardCoreAsync(long offset, long length) => WriteZeroesCoreAsync(offset, length, mayUnmap: true);

    /// <inheritdoc/>
    protected override ValueTask WriteZeroesCoreAsync(long offset, long length, bool mayUnmap)
    {
        Clear(offset, offset + length);
        return default;
    }

    /// <inheritdoc/>
    protected override ValueTask ResizeCoreAsync(long length)
    {
        // What comes back when the disk grows again must be zeros.
        if (length < _length) Clear(length, _length);
        Volatile.Write(ref _length, length);
        return default;
    }

    /// <inheritdoc/>
    protected override ValueTask<BlockExtent> ExtentCoreAsync(long offset, long length)
    {
        var isZero = !_blocks.ContainsKey(offset / BlockSize);
        var end = (offset / BlockSize + 1) * BlockSize;
        while (end < offset + length && !_blocks.ContainsKey(end / BlockSize) == isZero) end += BlockSize;
        return new(new BlockExtent(Math.Min(end - offset, length), isZero));
    }

    private void Clear(long start, long end)
    {
        if (end - start > (long)_blocks.Count * BlockSize)
        {
            foreach (var block in _blocks.Keys) ClearBlock(block, Math.Max(start, block * BlockSize), Math.Min(end, (block + 1) * BlockSize));
            return;
        }

        for (var block = start / BlockSize; block * BlockSize < end; block++) ClearBlock(block, Math.Max(start, block * BlockSize), Math.Min(end, (block + 1) * BlockSize));
    }

    private void ClearBlock(long block, long start, long end)
    {
        if (start >= end) return;
        if (end - start == BlockSize || (start == block * BlockSize && end >= Length)) _blocks.TryRemove(block, out _);
        else if (_blocks.TryGetValue(block, out var bytes)) bytes.AsSpan((int)(start - block * BlockSize), (int)(end - start)).Clear();
    }
}
