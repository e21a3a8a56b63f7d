using Vmm.Devices.Storage;

namespace Vmm.TestSupport.Storage;

/// <summary>A store whose requests fail, tear or take long, as a test says.</summary>
public sealed class FaultyStore(IBlockStore inner, Func<BlockRequest, BlockFault?> faults) : BlockStore
{
    private long _requests;

    /// <summary>Requests so far.</summary>
    public long Requests => Volatile.Read(ref _requests);

    public override long Length => inner.Length;

    public override bool IsReadOnly => inner.IsReadOnly;

    public override BlockTopology Topology => inner.Topology;

    public override async ValueTask FlushAsync()
    {
        await PassAsync(BlockRequestKind.Flush, 0, 0);
        await inner.FlushAsync();
    }

    public override ValueTask DisposeAsync() => inner.DisposeAsync();

    protected override async ValueTask ReadCoreAsync(long offset, Memory<byte> destination)
    {
        await PassAsync(BlockRequestKind.Read, offset, destination.Length);
        await inner.ReadAsync(offset, destination);
    }

    protected override async ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> source)
    {
        Interlocked.Increment(ref _requests);
        if (faults(new BlockRequest(BlockRequestKind.Write, offset, source.Length)) is { } fault)
        {
            if (fault.After is { } after) await after;
            if (fault.Torn > 0) await inner.WriteAsync(offset, source[..Math.Min(fault.Torn, source.Length)]);
            if (fault.Error is { } error) throw error;
        }

        await inner.WriteAsync(offset, source);
    }

    protected override async ValueTask DiscardCoreAsync(long offset, long length)
    {
        await PassAsync(BlockRequestKind.Discard, offset, length);
        await inner.DiscardAsync(offset, length);
    }

    protected override async ValueTask WriteZeroesCoreAsync(long offset, long length, bool mayUnmap)
    {
        await PassAsync(BlockRequestKind.WriteZeroes, offset, length);
        await inner.WriteZeroesAsync(offset, length, mayUnmap);
    }

    protected override async ValueTask ResizeCoreAsync(long length)
    {
        await PassAsync(BlockRequestKind.Resize, 0, length);
        await inner.ResizeAsync(length);
    }

    private async ValueTask PassAsync(BlockRequestKind kind, long offset, long length)
    {
        Interlocked.Increment(ref _requests);
        if (faults(new BlockRequest(kind, offset, length)) is not { } fault) return;
        if (fault.After is { } after) await after;
        if (fault.Error is { } error) throw error;
    }
}
