namespace Vmm.Devices.Storage.Qcow2;

public sealed partial class Qcow2Store
{
    private long _openedLength;

    internal ulong[] L1Table => _l1;

    internal ulong[] RefTable => _refTable;

    internal long SnapshotBytes => SnapshotTableLength;

    /// <summary>
    /// Opens an image to look at it or mend it: backing files are neither opened nor asked for, and damage that a check is there to find is no error. Its
    /// disk is not to be read or written.
    /// </summary>
    /// <param name="file">The image's bytes; taken over, also when this fails.</param>
    /// <param name="image">A name for messages.</param>
    /// <param name="isWritable">Whether it is to be mended.</param>
    /// <exception cref="ImageFormatException">The header is malformed.</exception>
    public static ValueTask<Qcow2Store> OpenForCheckAsync(IBlockStore file, string image, bool isWritable) => OpenAsync(file, image, new Qcow2Options { ReadOnly = !isWritable, ForRepair = true });

    /// <summary>Compares the reference counts with what the tables use. No other request may be under way.</summary>
    /// <param name="repair">What is mended.</param>
    /// <param name="progress">Told how much is done, from 0 to 1.</param>
    public async ValueTask<Qcow2CheckResult> CheckAsync(Qcow2Repair repair = Qcow2Repair.None, IProgress<double>? progress = null)
    {
        if (repair != Qcow2Repair.None && IsReadOnly) throw new InvalidOperationException("The image is read-only: open it for writing to mend it.");
        if (!IsReadOnly)
        {
            // What waits to be freed is no leak.
            for (var round = 0; round < 2; round++) await WriteBackAsync(withRefcounts: true).ConfigureAwait(false);
        }

        return await new Qcow2Checker(this).RunAsync(repair, progress).ConfigureAwait(false);
    }

    internal ValueTask ReadPaddedAsync(long offset, Memory<byte> destination) => ReadFileAsync(offset, destination);

    internal ValueTask<ulong[]> ReadL1Async(Qcow2Snapshot snapshot) => ReadTableAsync(snapshot.L1TableOffset, snapshot.L1Size);

    /// <summary>Sets a count. A block that is missing is made past all clusters of the file, where nothing can be in use.</summary>
    internal async ValueTask RepairRefcountAsync(long cluster, ulong count, long clusters)
    {
        var block = cluster / RefcountsPerBlock;
        while (block >= _refTable.Length)
        {
            lock (_lock) _nextFree = Math.Max(_nextFree, clusters);
            await OvercomeAsync(Obstacle.TableFull, block).ConfigureAwait(false);
        }

        if (_refTable[block] == 0)
        {
            lock (_lock)
            {
                // In the stretch that it counts where that is free, else behind the file's end.
                _nextFree = Math.Max(_nextFree, clusters);
            }

            if (_nextFree / RefcountsPerBlock == block)
            {
                await OvercomeAsync(Obstacle.NoBlock, block).ConfigureAwait(false);
            }
            else
            {
                var (host, _) = await AllocateAsync().ConfigureAwait(false);
                lock (_lock)
                {
                    _refTable[block] = (ulong)host;
                    _dirtyRefTable.Add(block * 8 & ~511);
                    _metadata.Add(host >> ClusterBits);
                    _refCache.Add(new MetadataTable(host, new byte[ClusterSize])).MarkDirty(0, ClusterSize);
                }
            }
        }

        if (count > RefcountField.Maximum(_header.RefcountOrder)) throw Wrong($"refcount of cluster {cluster}", $"{count} uses are more than {1 << _header.RefcountOrder} bits can count");
        while (true)
        {
            lock (_lock)
            {
                if (_refCache.Find((long)_refTable[block]) is not null)
                {
                    SetRefcount(cluster, count);
                    break;
                }
            }

            await LoadAsync(_refCache, BlockOffset(block)).ConfigureAwait(false);
        }

        await WriteBackIfCrowdedAsync().ConfigureAwait(false);
    }

    /// <summary>Writes mended counts out, and takes the marks off an image that is sound.</summary>
    internal async ValueTask FinishRepairAsync(bool isSound)
    {
        lock (_lock) _nextFree = 0;
        await WriteBackAsync(withRefcounts: true).ConfigureAwait(false);
        if (!isSound || !(IsDirty || IsCorrupt)) return;
        _header = _header with { IncompatibleFeatures = _header.IncompatibleFeatures & ~(Qcow2Spec.IncompatibleDirty | Qcow2Spec.IncompatibleCorrupt) };
        await WriteFeaturesAsync().ConfigureAwait(false);
    }
}
