// QEMU docs/interop/qcow2.txt, "Cluster mapping": L1 and L2 tables, extended L2 entries.
namespace Vmm.Devices.Storage.Qcow2;

public sealed partial class Qcow2Store
{
    private readonly Dictionary<long, Task<MetadataTable>> _loads = [];

    private long L2Coverage => (long)_header.L2Entries << ClusterBits;

    private int SubclusterSize => HasExtendedL2 ? ClusterSize / Qcow2Spec.SubclustersPerCluster : ClusterSize;

    /// <summary>Tells where a range begins, and how far it goes on like that. The caller holds the range.</summary>
    private async ValueTask<Qcow2Mapping> MapAsync(long offset, long length)
    {
        var l1Index = (int)(offset / L2Coverage);
        length = Math.Min(length, (l1Index + 1) * L2Coverage - offset);
        while (true)
        {
            long tableOffset;
            lock (_lock)
            {
                tableOffset = L2Offset(l1Index);
                if (tableOffset == 0) return new Qcow2Mapping(Qcow2MappingKind.Unallocated, 0, length);
                if (_l2Cache.Find(tableOffset) is { } table) return MapRun(table, offset, length);
            }

            await LoadAsync(_l2Cache, tableOffset).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Where a range is in the file, if that is known without a wait, and it is data in one piece: the usual case, in which a request is one of the file's. The
    /// caller holds the range. What is wrong with the tables is left for <see cref="MapAsync"/> to say.
    /// </summary>
    private bool TryFindRun(long offset, long length, bool forWriting, out long host)
    {
        host = 0;
        var l1Index = (int)(offset / L2Coverage);
        if (offset + length > (l1Index + 1) * L2Coverage) return false;
        Qcow2Mapping run;
        try
        {
            lock (_lock)
            {
                var tableOffset = L2Offset(l1Index);
                if (tableOffset == 0 || _l2Cache.Find(tableOffset) is not { } table) return false;
                run = MapRun(table, offset, length);
            }
        }
        catch (ImageFormatException)
        {
            return false;
        }

        host = run.HostOffset;
        return run.Kind == Qcow2MappingKind.Data && run.Length == length && (run.IsWritable || !forWriting) && host + length <= _file.Length;
    }

    private long L2Offset(int l1Index) => (long)(_l1[l1Index] & Qcow2Spec.OffsetMask);

    /// <summary>Reads a table into the cache; two that ask at once get one reading.</summary>
    private Task<MetadataTable> LoadAsync(MetadataCache cache, long offset)
    {
        lock (_lock)
        {
            if (cache.Find(offset) is { } table) return Task.FromResult(table);
            if (_loads.TryGetValue(offset, out var running)) return running;
            var load = ReadAsync();
            if (!load.IsCompleted) _loads.Add(offset, load);
            return load;
        }

        async Task<MetadataTable> ReadAsync()
        {
            var bytes = new byte[ClusterSize];
            try
            {
                await ReadFileAsync(offset, bytes).ConfigureAwait(false);
                lock (_lock) return cache.Add(new MetadataTable(offset, bytes));
            }
            finally
            {
                lock (_lock) _loads.Remove(offset);
            }
        }
    }

    /// <summary>Goes from entry to entry as long as they say the same. Under the lock.</summary>
    private Qcow2Mapping MapRun(MetadataTable table, long offset, long length)
    {
        var run = MapOne(table, offset);
        if (run.Kind == Qcow2MappingKind.Compressed) return run with { Length = Math.Min(run.Length, length) };
        while (run.Length < length)
        {
            var next = MapOne(table, offset + run.Length);
            if (next.Kind != run.Kind || next.IsWritable != run.IsWritable || (run.Kind == Qcow2MappingKind.Data && next.HostOffset != run.HostOffset + run.Length)) break;
            run = run with { Length = run.Length + next.Length };
        }

        return run with { Length = Math.Min(run.Length, length) };
    }

    private Qcow2Mapping MapOne(MetadataTable table, long offset)
    {
        var index = (int)(offset % L2Coverage >> ClusterBits);
        var entry = table[index * _header.L2EntrySize];
        var within = (int)(offset & (ClusterSize - 1));
        if ((entry & Qcow2Spec.Compressed) != 0) return MapCompressed(entry, offset, ClusterSize - within);
        if (!HasExtendedL2)
        {
            // In version 2 bit 0 is reserved.
            var isZero = (entry & Qcow2Spec.ZeroFlag) != 0 && Version >= 3;
            var host = entry & ~Qcow2Spec.Copied & ~Qcow2Spec.ZeroFlag;
            if (isZero) return new Qcow2Mapping(Qcow2MappingKind.Zero, 0, ClusterSize - within);
            if (host == 0) return new Qcow2Mapping(Qcow2MappingKind.Unallocated, 0, ClusterSize - within);
            return Data(entry, host, offset, within, ClusterSize - within);
        }

        var bitmap = table[index * 16 + 8];
        var part = within / SubclusterSize;
        var left = SubclusterSize - within % SubclusterSize;
        bool isAllocated = (bitmap >> part & 1) != 0, readsZero = (bitmap >> (part + 32) & 1) != 0;
        if (isAllocated && readsZero) throw Wrong(Entry(offset), $"part {part} is both allocated and zero");
        if (readsZero) return new Qcow2Mapping(Qcow2MappingKind.Zero, 0, left);
        if (!isAllocated) return new Qcow2Mapping(Qcow2MappingKind.Unallocated, 0, left);
        if ((entry & Qcow2Spec.OffsetMask) == 0) throw Wrong(Entry(offset), $"part {part} is allocated, but the cluster is not");
        return Data(entry, entry & ~Qcow2Spec.Copied, offset, within, left);
    }

    private Qcow2Mapping Data(ulong entry, ulong host, long offset, int within, int length)
    {
        var cluster = CheckedData(host, offset);
        return new Qcow2Mapping(Qcow2MappingKind.Data, cluster + within, length, IsWritable: (entry & Qcow2Spec.Copied) != 0);
    }

    private long CheckedData(ulong host, long offset)
    {
        if ((host & ((ulong)ClusterSize - 1)) != 0) throw Wrong(Entry(offset), $"0x{host:x} is not the start of a cluster");
        if (host >= (ulong)Math.Max(_file.Length, _allocatedEnd)) throw Wrong(Entry(offset), $"0x{host:x} is past the file's end at 0x{_file.Length:x}");
        if (_metadata.Contains((long)host >> ClusterBits)) throw Wrong(Entry(offset), $"its cluster at 0x{host:x} holds a table of the image");
        return (long)host;
    }

    private Qcow2Mapping MapCompressed(ulong entry, long offset, int length)
    {
        var shift = 62 - (ClusterBits - 8);
        var host = (long)(entry & ((1UL << shift) - 1));
        var sectors = (int)(entry >> shift & ((1UL << (ClusterBits - 8)) - 1));
        if (host == 0 || host >= _file.Length) throw Wrong(Entry(offset), $"its compressed data at 0x{host:x} is past the file's end at 0x{_file.Length:x}");
        return new Qcow2Mapping(Qcow2MappingKind.Compressed, host, length, (sectors + 1) * 512 - (int)(host & 511));
    }

    private string Entry(long offset) => $"L2 table {offset / L2Coverage}, entry {offset % L2Coverage >> ClusterBits}";
}
