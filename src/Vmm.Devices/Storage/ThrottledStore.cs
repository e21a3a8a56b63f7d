namespace Vmm.Devices.Storage;

/// <summary>Lets requests to a store pass at a limited rate. Flushes pass unhindered: they end work, and hold back who waits for durability.</summary>
/// <param name="inner">The store; disposed with this one.</param>
/// <param name="limit">The limit; changed by <see cref="Limit"/> while the store is in use.</param>
/// <param name="time">The clock; null for the host's.</param>
public sealed class ThrottledStore(IBlockStore inner, RateLimit limit, TimeProvider? time = null) : BlockStore
{
    private readonly RateLimiter _limiter = new(limit, time);

    /// <summary>The limit. A new one holds at once, for requests that wait as well.</summary>
    public RateLimit Limit { get => _limiter.Limit; set => _limiter.Limit = value; }

    /// <inheritdoc/>
    public override long Length => inner.Length;

    /// <inheritdoc/>
    public override bool IsReadOnly => inner.IsReadOnly;

    /// <inheritdoc/>
    public override BlockTopology Topology => inner.Topology;

    /// <summary>Lets requests that wait, and all later ones, fail.</summary>
    internal void GiveUpWaiting() => _limiter.Dispose();

    /// <inheritdoc/>
    public override ValueTask FlushAsync() => inner.FlushAsync();

    /// <inheritdoc/>
    public override ValueTask DisposeAsync()
    {
        _limiter.Dispose();
        return inner.DisposeAsync();
    }

    /// <inheritdoc/>
    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> destination)
    {
        var passed = _limiter.WaitAsync(destination.Length);
        return passed.IsCompletedSuccessfully ? inner.ReadAsync(offset, destination) : LaterAsync(passed, offset, destination);
    }

    /// <inheritdoc/>
    protected override ValueTask ReadCoreAsync(long offset, IReadOnlyList<Memory<byte>> destinations)
    {
        var passed = _limiter.WaitAsync(BlockPieces.Length(destinations));
        return passed.IsCompletedSuccessfully ? inner.ReadAsync(offset, destinations) : LaterAsync(passed, offset, destinations);
    }

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> source)
    {
        var passed = _limiter.WaitAsync(source.Length);
        return passed.IsCompletedSuccessfully ? inner.WriteAsync(offset, source) : LaterAsync(passed, offset, source);
    }

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(long offset, IReadOnlyList<ReadOnlyMemory<byte>> sources)
    {
        var passed = _limiter.WaitAsync(BlockPieces.Length(sources));
        return passed.IsCompletedSuccessfully ? inner.WriteAsync(offset, sources) : LaterAsync(passed, offset, sources);
    }

    /// <inheritdoc/>
    protected override async ValueTask DiscardCoreAsync(long offset, long length)
    {
        await _limiter.WaitAsync(0).ConfigureAwait(false);
        await inner.DiscardAsync(offset, length).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override async ValueTask WriteZeroesCoreAsync(long offset, long length, bool mayUnmap)
    {
        await _limiter.WaitAsync(mayUnmap ? 0 : length).ConfigureAwait(false);
        await inner.WriteZeroesAsync(offset, length, mayUnmap).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override ValueTask ResizeCoreAsync(long length) => inner.ResizeAsync(length);

    /// <inheritdoc/>
    protected override ValueTask<BlockExtent> ExtentCoreAsync(long offset, long length) => inner.GetExtentAsync(offset, length);

    private async ValueTask LaterAsync(ValueTask passed, long offset, Memory<byte> destination)
    {
        await passed.ConfigureAwait(false);
        await inner.ReadAsync(offset, destination).ConfigureAwait(false);
    }

    private async ValueTask LaterAsync(ValueTask passed, long offset, IReadOnlyList<Memory<byte>> destinations)
    {
        await passed.ConfigureAwait(false);
        await inner.ReadAsync(offset, destinations).ConfigureAwait(false);
    }

    private async ValueTask LaterAsync(ValueTask passed, long offset, ReadOnlyMemory<byte> source)
    {
        await passed.ConfigureAwait(false);
        await inner.WriteAsync(offset, source).ConfigureAwait(false);
    }

    private async ValueTask LaterAsync(ValueTask passed, long offset, IReadOnlyList<ReadOnlyMemory<byte>> sources)
    {
        await passed.ConfigureAwait(false);
        await inner.WriteAsync(offset, sources).ConfigureAwait(false);
    }
}
