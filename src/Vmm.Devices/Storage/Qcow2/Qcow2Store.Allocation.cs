// QEMU docs/interop/qcow2.txt, "Host cluster management".
using System.Buffers.Binary;

namespace Vmm.Devices.Storage.Qcow2;

public sealed partial class Qcow2Store
{
    private const long GrowthStep = 4 << 20;

    private readonly SemaphoreSlim _growth = new(1), _lengthening = new(1);
    private long _nextFree;
    private long _zeroFrom;
    private long _allocatedEnd;

    private int RefcountsPerBlock => ClusterSize * 8 >> _header.RefcountOrder;

    private enum Obstacle
    {
        None,
        BlockNotLoaded,
        NoBlock,
        TableFull,
    }

    /// <summary>Takes a free cluster and counts it. Fresh is one that was never used: it reads as zeros.</summary>
    private async ValueTask<(long HostOffset, bool IsFresh)> AllocateAsync()
    {
        await MarkDirtyAsync().ConfigureAwait(false);
        while (true)
        {
            Obstacle obstacle;
            long block;
            lock (_lock)
            {
                obstacle = TryAllocate(out var cluster, out block);
                if (obstacle == Obstacle.None)
                {
                    var host = cluster << ClusterBits;
                    var isFresh = host >= _zeroFrom;
                    if (isFresh) _zeroFrom = host + ClusterSize;
                    _allocatedEnd = Math.Max(_allocatedEnd, host + ClusterSize);
                    return (host, isFresh);
                }
            }

            await OvercomeAsync(obstacle, block).ConfigureAwait(false);
        }
    }

    private async ValueTask OvercomeAsync(Obstacle obstacle, long block)
    {
        if (obstacle == Obstacle.BlockNotLoaded)
        {
            await LoadAsync(_refCache, BlockOffset(block)).ConfigureAwait(false);
            return;
        }

        await _growth.WaitAsync().ConfigureAwait(false);
        try
        {
            if (obstacle == Obstacle.TableFull) await GrowRefTableAsync(block).ConfigureAwait(false);
            else AddBlock(block);
        }
        finally
        {
            _growth.Release();
        }
    }

    private long BlockOffset(long block)
    {
        lock (_lock) return (long)_refTable[block];
    }

    private Obstacle TryAllocate(out long cluster, out long block)
    {
        for (cluster = _nextFree; ; cluster++)
        {
            block = cluster / RefcountsPerBlock;
            if (block >= _refTable.Length) return Obstacle.TableFull;
            if (_refTable[block] == 0) return Obstacle.NoBlock;
            if (_refCache.Find((long)_refTable[block]) is not { } table) return Obstacle.BlockNotLoaded;
            if (RefcountField.Get(table.Bytes, (int)(cluster % RefcountsPerBlock), _header.RefcountOrder) == 0) break;
            _nextFree = cluster + 1;
        }

        if (_metadata.Contains(cluster)) throw Wrong($"refcount of cluster {cluster}", "it is 0, but the cluster holds a table: check and mend the image");
        SetRefcount(cluster, 1);
        _nextFree = cluster + 1;
        return Obstacle.None;
    }

    private void SetRefcount(long cluster, ulong value)
    {
        var table = _refCache.Find((long)_refTable[cluster / RefcountsPerBlock])!;
        var (at, length) = RefcountField.Set(table.Bytes, (int)(cluster % RefcountsPerBlock), _header.RefcountOrder, value);
        table.MarkDirty(at, length);
    }

    /// <summary>Makes the refcount block of a stretch of the file that has none: in the first free cluster of that stretch, which it counts itself.</summary>
    private void AddBlock(long block)
    {
        lock (_lock)
        {
            if (_refTable[block] != 0) return;
            var cluster = Math.Max(_nextFree, block * RefcountsPerBlock);
            while (_metadata.Contains(cluster)) cluster++;
            if (cluster / RefcountsPerBlock != block) throw Wrong($"refcount table, entry {block}", "it is 0, but the clusters it is for hold tables: check and mend the image");
            _refTable[block] = (ulong)(cluster << ClusterBits);
            _dirtyRefTable.Add(block * 8 & ~511);
            _metadata.Add(cluster);
            _refCache.Add(new MetadataTable(cluster << ClusterBits, new byte[ClusterSize])).MarkDirty(0, ClusterSize);
            SetRefcount(cluster, 1);
            _zeroFrom = Math.Max(_zeroFrom, (cluster + 1) << ClusterBits);
            _allocatedEnd = Math.Max(_allocatedEnd, (cluster + 1) << ClusterBits);
        }
    }

    /// <summary>Moves the refcount table to where it can be longer, with the blocks that count the place it moves to.</summary>
    private async ValueTask GrowRefTableAsync(long block)
    {
        if (block < _refTable.Length) return;

        // Everything that the old table does not know yet goes out first.
        await WriteBackAsync(withRefcounts: true).ConfigureAwait(false);
        var old = _refTable;
        long first = Math.Max((long)old.Length * RefcountsPerBlock, (_file.Length + ClusterSize - 1) >> ClusterBits);
        var firstBlock = first / RefcountsPerBlock;
        var entries = Math.Max(firstBlock + 2, old.Length * 3L / 2);
        long tableClusters, blocks = 1;
        while (true)
        {
            tableClusters = ((entries + blocks) * 8 + ClusterSize - 1) >> ClusterBits;
            var needed = (first + tableClusters + blocks - 1) / RefcountsPerBlock - firstBlock + 1;
            if (needed <= blocks) break;
            blocks = needed;
        }

        if (tableClusters * ClusterSize > Math.Max(Qcow2Spec.MaximumRefTableBytes, ClusterSize)) throw Wrong("refcount_table_clusters", "the file would need a refcount table of more than 8 MiB: convert it to larger clusters");
        var table = new ulong[tableClusters * ClusterSize / 8];
        old.CopyTo(table, 0);
        var made = new List<MetadataTable>();
        for (long i = 0; i < blocks; i++)
        {
            var counts = new byte[ClusterSize];
            for (var cluster = first; cluster < first + blocks + tableClusters; cluster++)
            {
                if (cluster / RefcountsPerBlock == firstBlock + i) RefcountField.Set(counts, (int)(cluster % RefcountsPerBlock), _header.RefcountOrder, 1);
            }

            var at = (first + i) << ClusterBits;
            table[firstBlock + i] = (ulong)at;
            made.Add(new MetadataTable(at, counts));
        }

        var tableOffset = (first + blocks) << ClusterBits;
        await EnsureLengthAsync(tableOffset + tableClusters * ClusterSize).ConfigureAwait(false);
        foreach (var counts in made) await _file.WriteAsync(counts.Offset, counts.Bytes).ConfigureAwait(false);
        var bytes = new byte[table.Length * 8];
        for (var i = 0; i < table.Length; i++) BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(i * 8), table[i]);
        await _file.WriteAsync(tableOffset, bytes).ConfigureAwait(false);
        await _file.FlushAsync().ConfigureAwait(false);

        // Offset and length lie side by side in the header's first sector: one write switches over.
        var fields = new byte[12];
        BinaryPrimitives.WriteUInt64BigEndian(fields, (ulong)tableOffset);
        BinaryPrimitives.WriteUInt32BigEndian(fields.AsSpan(8), (uint)tableClusters);
        await _file.WriteAsync(48, fields).ConfigureAwait(false);
        await _file.FlushAsync().ConfigureAwait(false);
        lock (_lock)
        {
            for (var i = 0; i < _header.RefcountTableClusters; i++)
            {
                var cluster = (_header.RefcountTableOffset >> ClusterBits) + i;
                _metadata.Remove(cluster);
                _freed.Add(cluster);
            }

            for (var i = 0; i < blocks + tableClusters; i++) _metadata.Add(first + i);
            foreach (var counts in made) _refCache.Add(counts);
            _refTable = table;
            _header = _header with { RefcountTableOffset = tableOffset, RefcountTableClusters = (int)tableClusters };
            _zeroFrom = Math.Max(_zeroFrom, tableOffset + tableClusters * ClusterSize);
            _allocatedEnd = Math.Max(_allocatedEnd, _zeroFrom);
        }
    }

    /// <summary>Takes clusters one after another at the file's end.</summary>
    private async ValueTask<long> AllocateRunAsync(long count)
    {
        List<long> run = [];
        while (run.Count < count)
        {
            var (host, _) = await AllocateAsync().ConfigureAwait(false);
            if (run.Count > 0 && host != run[^1] + ClusterSize)
            {
                lock (_lock) _freed.AddRange(run.Select(h => h >> ClusterBits));
                run.Clear();
            }

            run.Add(host);
        }

        await EnsureLengthAsync(run[^1] + ClusterSize).ConfigureAwait(false);
        return run[0];
    }

    /// <summary>Lengthens the file, in steps, so that a place in it can be written.</summary>
    private async ValueTask EnsureLengthAsync(long end)
    {
        if (end <= _file.Length) return;
        await _lengthening.WaitAsync().ConfigureAwait(false);
        try
        {
            if (end > _file.Length) await _file.ResizeAsync((end + GrowthStep - 1) / GrowthStep * GrowthStep).ConfigureAwait(false);
        }
        finally
        {
            _lengthening.Release();
        }
    }
}
