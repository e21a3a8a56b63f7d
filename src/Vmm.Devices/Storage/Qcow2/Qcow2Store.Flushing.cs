using System.Buffers.Binary;

namespace Vmm.Devices.Storage.Qcow2;

public sealed partial class Qcow2Store
{
    // So many clusters may wait to be free before the tables are written for their sake.
    private const int MaximumFreed = 1 << 16;

    private readonly SemaphoreSlim _flushing = new(1);
    private readonly HashSet<long> _dirtyL1 = [], _dirtyRefTable = [];
    private List<long> _freed = [];
    private long _flushesAsked, _flushesDone;

    /// <inheritdoc/>
    public override ValueTask FlushAsync() => IsReadOnly ? default : WriteBackAsync(withRefcounts: false);

    private async ValueTask WriteBackIfCrowdedAsync()
    {
        bool isCrowded, isRefs;
        lock (_lock)
        {
            isRefs = _refCache.IsCrowded;
            isCrowded = isRefs || _l2Cache.IsCrowded || _freed.Count > MaximumFreed;
        }

        if (isCrowded) await WriteBackAsync(isRefs).ConfigureAwait(false);
    }

    /// <summary>
    /// Writes what is changed of the tables, in the order that keeps the file consistent, and makes it durable. One at a time; those who
    /// ask while one is under way share the next.
    /// </summary>
    private async ValueTask WriteBackAsync(bool withRefcounts)
    {
        var ticket = Interlocked.Increment(ref _flushesAsked);
        await _flushing.WaitAsync().ConfigureAwait(false);
        try
        {
            if (_flushesDone >= ticket && !withRefcounts) return;
            var upTo = Volatile.Read(ref _flushesAsked);
            await WriteTablesAsync(withRefcounts || !HasLazyRefcounts).ConfigureAwait(false);
            _flushesDone = upTo;
        }
        finally
        {
            _flushing.Release();
        }
    }

    private async ValueTask WriteTablesAsync(bool withRefcounts)
    {
        List<MetadataTable.PendingWrite> blocks = [], tables;
        List<(long At, byte[] Bytes)> refTable = [], l1;
        List<long> freed;
        lock (_lock)
        {
            // All in one moment: an L2 entry among these points to a cluster whose count is among these, and whose data is written.
            if (withRefcounts)
            {
                blocks = _refCache.TakeDirty();
                refTable = TakeSectors(_dirtyRefTable, _refTable);
            }

            tables = _l2Cache.TakeDirty();
            l1 = TakeSectors(_dirtyL1, _l1);
            (freed, _freed) = (_freed, []);
        }

        try
        {
            foreach (var write in blocks) await WriteTableAsync(write).ConfigureAwait(false);
            await _file.FlushAsync().ConfigureAwait(false);
            if (refTable.Count > 0)
            {
                foreach (var (at, bytes) in refTable) await _file.WriteAsync(_header.RefcountTableOffset + at, bytes).ConfigureAwait(false);
                await _file.FlushAsync().ConfigureAwait(false);
            }

            if (tables.Count > 0)
            {
                foreach (var write in tables) await WriteTableAsync(write).ConfigureAwait(false);
                await _file.FlushAsync().ConfigureAwait(false);
            }

            if (l1.Count > 0)
            {
                foreach (var (at, bytes) in l1) await _file.WriteAsync(_header.L1TableOffset + at, bytes).ConfigureAwait(false);
                await _file.FlushAsync().ConfigureAwait(false);
            }
        }
        catch
        {
            lock (_lock)
            {
                foreach (var write in blocks.Concat(tables)) write.Table.MarkDirty((int)(write.Offset - write.Table.Offset), write.Bytes.Length);
                _dirtyRefTable.UnionWith(refTable.Select(s => s.At));
                _dirtyL1.UnionWith(l1.Select(s => s.At));
                _freed.AddRange(freed);
            }

            throw;
        }
        finally
        {
            lock (_lock)
            {
                foreach (var write in blocks.Concat(tables)) write.Table.IsWriting = false;
            }
        }

        // Nothing on the disk points there any more.
        foreach (var cluster in freed) await FreeClusterAsync(cluster).ConfigureAwait(false);
    }

    private async ValueTask WriteTableAsync(MetadataTable.PendingWrite write)
    {
        await EnsureLengthAsync(write.Offset + write.Bytes.Length).ConfigureAwait(false);
        await _file.WriteAsync(write.Offset, write.Bytes).ConfigureAwait(false);
    }

    private static List<(long At, byte[] Bytes)> TakeSectors(HashSet<long> dirty, ulong[] table)
    {
        List<(long, byte[])> sectors = [];
        foreach (var at in dirty.Order())
        {
            var first = (int)(at / 8);
            var bytes = new byte[Math.Min(512, (table.Length - first) * 8)];
            for (var i = 0; i < bytes.Length / 8; i++) BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(i * 8), table[first + i]);
            sectors.Add((at, bytes));
        }

        dirty.Clear();
        return sectors;
    }

    private async ValueTask FreeClusterAsync(long cluster)
    {
        var count = await ReadRefcountAsync(cluster).ConfigureAwait(false);

        // A damaged image may count too few; there is nothing to take away then.
        if (count == 0) return;
        if (count == 1) await _file.DiscardAsync(cluster << ClusterBits, Math.Min(ClusterSize, _file.Length - (cluster << ClusterBits))).ConfigureAwait(false);
        await ChangeRefcountAsync(cluster, -1).ConfigureAwait(false);
        lock (_lock) _nextFree = Math.Min(_nextFree, cluster);
    }

    internal async ValueTask<ulong> ReadRefcountAsync(long cluster)
    {
        while (true)
        {
            long offset;
            lock (_lock)
            {
                var block = cluster / RefcountsPerBlock;
                if (block >= _refTable.Length || _refTable[block] == 0) return 0;
                offset = (long)_refTable[block];
                if (_refCache.Find(offset) is { } table) return RefcountField.Get(table.Bytes, (int)(cluster % RefcountsPerBlock), _header.RefcountOrder);
            }

            await LoadAsync(_refCache, offset).ConfigureAwait(false);
        }
    }

    /// <summary>Adds to the count of a cluster whose block exists; false where that passes the largest count.</summary>
    private async ValueTask<bool> ChangeRefcountAsync(long cluster, int change)
    {
        while (true)
        {
            long offset;
            lock (_lock)
            {
                offset = (long)_refTable[cluster / RefcountsPerBlock];
                if (_refCache.Find(offset) is { } table)
                {
                    var count = RefcountField.Get(table.Bytes, (int)(cluster % RefcountsPerBlock), _header.RefcountOrder);
                    if (change > 0 ? count == RefcountField.Maximum(_header.RefcountOrder) : count == 0) return false;
                    SetRefcount(cluster, change > 0 ? count + 1 : count - 1);
                    return true;
                }
            }

            await LoadAsync(_refCache, offset).ConfigureAwait(false);
        }
    }

    /// <summary>Before the first change whose counts are written late: an image that is not closed is one to be counted anew.</summary>
    private async ValueTask MarkDirtyAsync()
    {
        if (!HasLazyRefcounts || IsDirty) return;
        await _flushing.WaitAsync().ConfigureAwait(false);
        try
        {
            if (IsDirty) return;
            _header = _header with { IncompatibleFeatures = _header.IncompatibleFeatures | Qcow2Spec.IncompatibleDirty };
            await WriteFeaturesAsync().ConfigureAwait(false);
        }
        finally
        {
            _flushing.Release();
        }
    }

    private async ValueTask CloseAsync()
    {
        // What is freed by the first round is counted by the second.
        for (var round = 0; round < 3; round++) await WriteBackAsync(withRefcounts: true).ConfigureAwait(false);
        if (IsDirty)
        {
            _header = _header with { IncompatibleFeatures = _header.IncompatibleFeatures & ~Qcow2Spec.IncompatibleDirty };
            await WriteFeaturesAsync().ConfigureAwait(false);
        }

        var end = Math.Max(_allocatedEnd, _openedLength);
        if (end < _file.Length) await _file.ResizeAsync(end).ConfigureAwait(false);
    }
}
