using System.Buffers;

namespace Vmm.Devices.Storage;

/// <summary>
/// Copy on write: changes go to a store of their own, and what was never changed is read from the base, which is not touched. Which blocks
/// of 64 KiB were changed is kept in memory only, so the overlay lives as long as this object; a qcow2 image over a base
/// is the lasting kind.
/// </summary>
public sealed class OverlayStore : BlockStore
{
    private const int BlockSize = 1 << 16;

    private readonly IBlockStore _base;
    private readonly IBlockStore _top;
    private readonly RangeLocks _locks = new();
    private ulong[] _changed;

    /// <summary>Lays an overlay over a store; disposing it disposes both.</summary>
    /// <param name="base">What is read.</param>
    /// <param name="top">Takes the changes, and gives the disk its size; what it holds now is ignored. Null keeps the changes in memory.</param>
    public OverlayStore(IBlockStore @base, IBlockStore? top = null)
    {
        ArgumentNullException.ThrowIfNull(@base);
        (_base, _top) = (@base, top ?? new MemoryStore(@base.Length));
        if (_top.IsReadOnly) throw new ArgumentException("The store for the changes is read-only: open it for writing.", nameof(top));
        _changed = new ulong[Words(_top.Length)];
    }

    /// <inheritdoc/>
    public override long Length => _top.Length;

    /// <inheritdoc/>
    public override bool IsReadOnly => false;

    /// <inheritdoc/>
    public override BlockTopology Topology => _base.Topology with { DiscardGranularity = BlockSize };

    /// <inheritdoc/>
    public override ValueTask FlushAsync() => _top.FlushAsync();

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        await _top.DisposeAsync().ConfigureAwait(false);
        await _base.DisposeAsync().ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override async ValueTask ReadCoreAsync(long offset, Memory<byte> destination)
    {
        using var hold = await LockAsync(offset, destination.Length, exclusive: false).ConfigureAwait(false);
        while (!destination.IsEmpty)
        {
            var (count, isChanged) = Run(offset, destination.Length);
            var piece = destination[..(int)count];
            if (isChanged) await _top.ReadAsync(offset, piece).ConfigureAwait(false);
            else await ReadBaseAsync(offset, piece).ConfigureAwait(false);
            (destination, offset) = (destination[(int)count..], offset + count);
        }
    }

    /// <inheritdoc/>
    protected override async ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> source)
    {
        using var hold = await LockToChangeAsync(offset, source.Length).ConfigureAwait(false);
        while (!source.IsEmpty)
        {
            var (run, isChanged) = Run(offset, source.Length);
            var count = (int)Math.Min(run, isChanged ? run : BlockSize - offset % BlockSize);
            if (isChanged) await _top.WriteAsync(offset, source[..count]).ConfigureAwait(false);
            else await CopyBlockAsync(offset, source[..count]).ConfigureAwait(false);
            (source, offset) = (source[count..], offset + count);
        }
    }

    /// <inheritdoc/>
    protected override ValueTask DiscardCoreAsync(long offset, long length)
    {
        var start = (offset + BlockSize - 1) / BlockSize * BlockSize;
        var end = (offset + length) / BlockSize * BlockSize;
        return start < end ? WriteZeroesCoreAsync(start, end - start, mayUnmap: true) : default;
    }

    /// <inheritdoc/>
    protected override async ValueTask WriteZeroesCoreAsync(long offset, long length, bool mayUnmap)
    {
        using var hold = await LockToChangeAsync(offset, length).ConfigureAwait(false);
        var end = offset + length;
        while (offset < end)
        {
            var (run, isChanged) = Run(offset, end - offset);
            if (!isChanged && (offset % BlockSize != 0 || run < BlockSize))
            {
                run = Math.Min(run, BlockSize - offset % BlockSize);
                await CopyBlockAsync(offset, new byte[run]).ConfigureAwait(false);
            }
            else
            {
                if (!isChanged) run = run / BlockSize * BlockSize;
                await _top.WriteZeroesAsync(offset, run, mayUnmap).ConfigureAwait(false);
                if (!isChanged) Mark(offset, run);
            }

            offset += run;
        }
    }

    /// <inheritdoc/>
    protected override async ValueTask ResizeCoreAsync(long length)
    {
        using var hold = await _locks.AcquireAsync(0, long.MaxValue, exclusive: true).ConfigureAwait(false);
        var old = Length;

        // The base must not show through where the disk has shrunk before.
        if (length < old && length % BlockSize != 0 && !IsChanged(length / BlockSize)) await CopyBlockAsync(length, ReadOnlyMemory<byte>.Empty).ConfigureAwait(false);
        await _top.ResizeAsync(length).ConfigureAwait(false);
        Array.Resize(ref _changed, Words(length));
        for (var block = (old + BlockSize - 1) / BlockSize; block * BlockSize < length; block++) SetChanged(block);
        if (length > old && old % BlockSize != 0 && !IsChanged(old / BlockSize)) await CopyBlockAsync(old, ReadOnlyMemory<byte>.Empty, old).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override async ValueTask<BlockExtent> ExtentCoreAsync(long offset, long length)
    {
        var (run, isChanged) = Run(offset, length);
        if (isChanged) return await _top.GetExtentAsync(offset, run).ConfigureAwait(false);
        return offset < _base.Length ? await _base.GetExtentAsync(offset, Math.Min(run, _base.Length - offset)).ConfigureAwait(false) : new BlockExtent(run, true);
    }

    private static int Words(long length) => checked((int)((length + BlockSize - 1) / BlockSize / 64 + 1));

    private ValueTask<RangeLocks.Hold> LockAsync(long offset, long length, bool exclusive) =>
        _locks.AcquireAsync(offset / BlockSize, (offset + length - 1) / BlockSize + 1, exclusive);

    /// <summary>Alone where a block has to be copied, beside others where all were changed before.</summary>
    private async ValueTask<RangeLocks.Hold> LockToChangeAsync(long offset, long length)
    {
        var hold = await LockAsync(offset, length, exclusive: false).ConfigureAwait(false);
        if (Run(offset, length) is (var run, true) && run == length) return hold;
        hold.Dispose();
        return await LockAsync(offset, length, exclusive: true).ConfigureAwait(false);
    }

    private bool IsChanged(long block) => (Volatile.Read(ref _changed[block / 64]) >> (int)(block % 64) & 1) != 0;

    private void SetChanged(long block) => Interlocked.Or(ref _changed[block / 64], 1UL << (int)(block % 64));

    private void Mark(long offset, long length)
    {
        for (var block = offset / BlockSize; block * BlockSize < offset + length; block++) SetChanged(block);
    }

    /// <summary>How far from an offset the blocks are all changed, or all not.</summary>
    private (long Length, bool IsChanged) Run(long offset, long length)
    {
        var block = offset / BlockSize;
        var isChanged = IsChanged(block++);
        while (block * BlockSize < offset + length && IsChanged(block) == isChanged) block++;
        return (Math.Min(length, block * BlockSize - offset), isChanged);
    }

    private async ValueTask ReadBaseAsync(long offset, Memory<byte> destination)
    {
        var inside = (int)Math.Clamp(_base.Length - offset, 0, destination.Length);
        destination.Span[inside..].Clear();
        await _base.ReadAsync(offset, destination[..inside]).ConfigureAwait(false);
    }

    /// <summary>Moves a block from the base to the top, with new bytes at an offset, and zeros from <paramref name="zeroFrom"/> on.</summary>
    private async ValueTask CopyBlockAsync(long offset, ReadOnlyMemory<byte> source, long zeroFrom = long.MaxValue)
    {
        var start = offset / BlockSize * BlockSize;
        var length = (int)Math.Min(BlockSize, Length - start);
        var bytes = ArrayPool<byte>.Shared.Rent(BlockSize);
        var block = bytes.AsMemory(0, length);
        if (source.Length < length) await ReadBaseAsync(start, block).ConfigureAwait(false);
        if (zeroFrom < start + length) block.Span[(int)(zeroFrom - start)..].Clear();
        source.CopyTo(block[(int)(offset - start)..]);
        await _top.WriteAsync(start, block).ConfigureAwait(false);
        SetChanged(offset / BlockSize);
        ArrayPool<byte>.Shared.Return(bytes);
    }
}
