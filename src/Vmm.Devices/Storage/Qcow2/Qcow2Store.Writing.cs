// QEMU docs/interop/qcow2.txt, "Cluster mapping".
using System.Buffers;

namespace Vmm.Devices.Storage.Qcow2;

public sealed partial class Qcow2Store
{
    private readonly SemaphoreSlim _l1Changes = new(1);

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> source)
    {
        var hold = HoldAsync(offset, source.Length, exclusive: false);
        if (!hold.IsCompletedSuccessfully) return WriteSlowAsync(hold, offset, source);
        var held = hold.Result;
        if (!TryFindRun(offset, source.Length, forWriting: true, out var host)) return WriteSlowAsync(new ValueTask<RangeLocks.Hold>(held), offset, source);
        try
        {
            return _requests.Rent().Await(held, _file.WriteAsync(host, source));
        }
        catch
        {
            held.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(long offset, IReadOnlyList<ReadOnlyMemory<byte>> sources)
    {
        var length = BlockPieces.Length(sources);
        if (length == 0) return default;
        var hold = HoldAsync(offset, length, exclusive: false);
        if (!hold.IsCompletedSuccessfully) return WriteSlowAsync(hold, offset, sources);
        var held = hold.Result;
        if (!TryFindRun(offset, length, forWriting: true, out var host)) return WriteSlowAsync(new ValueTask<RangeLocks.Hold>(held), offset, sources);
        try
        {
            return _requests.Rent().Await(held, _file.WriteAsync(host, sources));
        }
        catch
        {
            held.Dispose();
            throw;
        }
    }

    private async ValueTask WriteSlowAsync(ValueTask<RangeLocks.Hold> hold, long offset, ReadOnlyMemory<byte> source)
    {
        // Tables may have to be read before it is seen that nothing has to be allocated.
        using (await hold.ConfigureAwait(false))
        {
            var mapping = await MapAsync(offset, source.Length).ConfigureAwait(false);
            if (mapping is { Kind: Qcow2MappingKind.Data, IsWritable: true } && mapping.Length == source.Length)
            {
                await WriteDataAsync(mapping.HostOffset, source).ConfigureAwait(false);
                return;
            }
        }

        using (await HoldAsync(offset, source.Length, exclusive: true).ConfigureAwait(false))
        {
            await WriteHeldAsync(offset, source).ConfigureAwait(false);
        }

        await WriteBackIfCrowdedAsync().ConfigureAwait(false);
    }

    private async ValueTask WriteSlowAsync(ValueTask<RangeLocks.Hold> hold, long offset, IReadOnlyList<ReadOnlyMemory<byte>> sources)
    {
        var length = BlockPieces.Length(sources);
        using (await hold.ConfigureAwait(false))
        {
            var mapping = await MapAsync(offset, length).ConfigureAwait(false);
            if (mapping is { Kind: Qcow2MappingKind.Data, IsWritable: true } && mapping.Length == length)
            {
                await EnsureLengthAsync(mapping.HostOffset + length).ConfigureAwait(false);
                await _file.WriteAsync(mapping.HostOffset, sources).ConfigureAwait(false);
                return;
            }
        }

        using (await HoldAsync(offset, length, exclusive: true).ConfigureAwait(false))
        {
            for (var i = 0; i < sources.Count; i++)
            {
                await WriteHeldAsync(offset, sources[i]).ConfigureAwait(false);
                offset += sources[i].Length;
            }
        }

        await WriteBackIfCrowdedAsync().ConfigureAwait(false);
    }

    private async ValueTask WriteHeldAsync(long offset, ReadOnlyMemory<byte> source)
    {
        while (!source.IsEmpty)
        {
            var mapping = await MapAsync(offset, source.Length).ConfigureAwait(false);
            var count = (int)mapping.Length;
            if (mapping is { Kind: Qcow2MappingKind.Data, IsWritable: true })
            {
                await WriteDataAsync(mapping.HostOffset, source[..count]).ConfigureAwait(false);
            }
            else
            {
                count = (int)Math.Min(source.Length, ClusterSize - (offset & (ClusterSize - 1)));
                await AllocateAndWriteAsync(offset, source[..count]).ConfigureAwait(false);
            }

            (source, offset) = (source[count..], offset + count);
        }
    }

    private async ValueTask WriteDataAsync(long host, ReadOnlyMemory<byte> source)
    {
        await EnsureLengthAsync(host + source.Length).ConfigureAwait(false);
        await _file.WriteAsync(host, source).ConfigureAwait(false);
    }

    /// <summary>Writes within one cluster, which the caller has alone, and points its L2 entry to the data.</summary>
    private async ValueTask AllocateAndWriteAsync(long offset, ReadOnlyMemory<byte> source)
    {
        var clusterStart = offset & -ClusterSize;
        var (old, bitmap) = await EntryForWritingAsync(clusterStart).ConfigureAwait(false);
        var isPacked = (old & Qcow2Spec.Compressed) != 0;
        var oldHost = isPacked ? 0 : (long)(old & Qcow2Spec.OffsetMask);
        if (oldHost != 0) CheckedData((ulong)oldHost, offset);
        var isOurs = oldHost != 0 && (old & Qcow2Spec.Copied) != 0;

        // Parts of clusters are only kept apart where no old data has to come along.
        var grain = isPacked || (oldHost != 0 && !isOurs) ? ClusterSize : SubclusterSize;
        var start = clusterStart + (offset - clusterStart) / grain * grain;
        var end = clusterStart + (offset + source.Length - clusterStart + grain - 1) / grain * grain;
        var (host, isFresh) = isOurs ? (oldHost, false) : await AllocateAsync().ConfigureAwait(false);
        var hasOnlyZeros = !isPacked && oldHost == 0 && bitmap == 0 && ((old & Qcow2Spec.ZeroFlag) != 0 || _backing is null || start >= _backing.Length);
        if ((start == offset && end == offset + source.Length) || (isFresh && hasOnlyZeros))
        {
            await WriteDataAsync(host + (offset - clusterStart), source).ConfigureAwait(false);
        }
        else
        {
            var length = (int)(end - start);
            var bytes = ArrayPool<byte>.Shared.Rent(length);
            var whole = bytes.AsMemory(0, length);
            var inside = (int)Math.Clamp(Length - start, 0, length);
            whole.Span[inside..].Clear();
            await ReadHeldAsync(start, whole[..inside]).ConfigureAwait(false);
            source.CopyTo(whole[(int)(offset - start)..]);
            await WriteDataAsync(host + (start - clusterStart), whole).ConfigureAwait(false);
            ArrayPool<byte>.Shared.Return(bytes);
        }

        if (HasExtendedL2)
        {
            var parts = (end - start) / SubclusterSize is 32 ? uint.MaxValue : ((1u << (int)((end - start) / SubclusterSize)) - 1) << (int)((start - clusterStart) / SubclusterSize);
            bitmap = grain == ClusterSize ? parts : (bitmap | parts) & ~((ulong)parts << 32);
        }

        await SetEntryAsync(clusterStart, (ulong)host | Qcow2Spec.Copied, bitmap).ConfigureAwait(false);
        if (!isOurs) FreeEntry(old);
    }

    /// <summary>A cluster's entry (and bitmap), in an L2 table that is this disk's own, which is made if need be.</summary>
    private async ValueTask<(ulong Entry, ulong Bitmap)> EntryForWritingAsync(long offset)
    {
        await OwnL2Async((int)(offset / L2Coverage)).ConfigureAwait(false);
        return await UseL2Async(offset, (table, at) => (table[at], HasExtendedL2 ? table[at + 8] : 0)).ConfigureAwait(false);
    }

    private ValueTask<bool> SetEntryAsync(long offset, ulong entry, ulong bitmap) => UseL2Async(offset, (table, at) =>
    {
        table[at] = entry;
        if (HasExtendedL2) table[at + 8] = bitmap;
        return true;
    });

    private async ValueTask<T> UseL2Async<T>(long offset, Func<MetadataTable, int, T> use)
    {
        while (true)
        {
            long tableOffset;
            lock (_lock)
            {
                tableOffset = L2Offset((int)(offset / L2Coverage));
                if (_l2Cache.Find(tableOffset) is { } table) return use(table, (int)(offset % L2Coverage >> ClusterBits) * _header.L2EntrySize);
            }

            await LoadAsync(_l2Cache, tableOffset).ConfigureAwait(false);
        }
    }

    /// <summary>Sees to it that an L2 table exists that no snapshot shares.</summary>
    private async ValueTask OwnL2Async(int l1Index)
    {
        lock (_lock)
        {
            if ((_l1[l1Index] & Qcow2Spec.Copied) != 0) return;
        }

        await _l1Changes.WaitAsync().ConfigureAwait(false);
        try
        {
            ulong old;
            lock (_lock) old = _l1[l1Index];
            if ((old & Qcow2Spec.Copied) != 0) return;
            var oldOffset = (long)(old & Qcow2Spec.OffsetMask);
            var bytes = new byte[ClusterSize];
            if (oldOffset != 0)
            {
                var shared = await LoadAsync(_l2Cache, oldOffset).ConfigureAwait(false);
                lock (_lock) shared.Bytes.CopyTo(bytes, 0);
            }

            var (host, _) = await AllocateAsync().ConfigureAwait(false);
            await EnsureLengthAsync(host + ClusterSize).ConfigureAwait(false);
            lock (_lock)
            {
                var table = _l2Cache.Add(new MetadataTable(host, bytes));
                table.MarkDirty(0, ClusterSize);
                _metadata.Add(host >> ClusterBits);
                _metadata.Remove(oldOffset >> ClusterBits);
                _l1[l1Index] = (ulong)host | Qcow2Spec.Copied;
                _dirtyL1.Add(l1Index * 8L & ~511);
                if (oldOffset != 0)
                {
                    _l2Cache.Remove(oldOffset);
                    _freed.Add(oldOffset >> ClusterBits);
                }
            }
        }
        finally
        {
            _l1Changes.Release();
        }
    }

    /// <summary>Gives up what an entry pointed to, from the next flush on.</summary>
    private void FreeEntry(ulong entry)
    {
        lock (_lock)
        {
            if ((entry & Qcow2Spec.Compressed) == 0)
            {
                if ((entry & Qcow2Spec.OffsetMask) is not 0 and var host) _freed.Add((long)host >> ClusterBits);
                return;
            }

            var (first, last) = PackedClusters(entry);
            for (var cluster = first; cluster <= last; cluster++) _freed.Add(cluster);
            _unpacked = null;
        }
    }

    /// <summary>The clusters of the file that a compressed cluster's data touches.</summary>
    internal (long First, long Last) PackedClusters(ulong entry)
    {
        var shift = 62 - (ClusterBits - 8);
        var host = (long)(entry & ((1UL << shift) - 1));
        var sectors = (long)(entry >> shift & ((1UL << (ClusterBits - 8)) - 1));
        return (host >> ClusterBits, ((host & ~511) + (sectors + 1) * 512 - 1) >> ClusterBits);
    }
}
