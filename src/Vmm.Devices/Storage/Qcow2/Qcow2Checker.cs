// QEMU docs/interop/qcow2.txt, "Host cluster management" and "Cluster mapping": counts what the tables use and compares.
using System.Buffers.Binary;
using System.Collections.Immutable;

namespace Vmm.Devices.Storage.Qcow2;

/// <summary>Checks the reference counts of an image that nothing else uses meanwhile, and mends them.</summary>
internal sealed class Qcow2Checker(Qcow2Store store)
{
    private const int MaximumMessages = 100, PageSize = 4096;

    private readonly Dictionary<long, uint[]> _used = [];
    private readonly List<string> _messages = [];
    private readonly List<Entry> _entries = [];
    private long _corruptions, _allocated, _compressed;

    /// <summary>Where an entry is (an L2 index below 0 is an entry of L1 itself), and what it points to.</summary>
    private readonly record struct Entry(int L1, int L2, long Cluster, bool IsCopied)
    {
        public override string ToString() => L2 < 0 ? $"L1 table, entry {L1}" : $"L2 table {L1}, entry {L2}";
    }

    private Qcow2Header Header => store.Header;

    private long Clusters => (store.File.Length + Header.ClusterSize - 1) >> Header.ClusterBits;

    public async ValueTask<Qcow2CheckResult> RunAsync(Qcow2Repair repair, IProgress<double>? progress = null)
    {
        Use("header", 0, 1);
        Use("l1_table_offset", Header.L1TableOffset, Header.L1Size * 8L);
        Use("refcount_table_offset", Header.RefcountTableOffset, (long)Header.RefcountTableClusters * Header.ClusterSize);
        if (store.SnapshotBytes > 0) Use("snapshots_offset", Header.SnapshotsOffset, store.SnapshotBytes);
        for (var i = 0; i < store.RefTable.Length; i++)
        {
            if (store.RefTable[i] == 0) continue;
            if (Claim($"refcount table, entry {i}", store.RefTable[i]) is { } block && Count(block) > 1) Corrupt($"refcount table, entry {i}: its cluster {block} is used twice");
        }

        await UseL1Async("L1 table", store.L1Table, isActive: true, progress).ConfigureAwait(false);
        foreach (var snapshot in store.Snapshots)
        {
            Use($"snapshot {snapshot.Id}, l1_table_offset", snapshot.L1TableOffset, snapshot.L1Size * 8L);
            await UseL1Async($"snapshot {snapshot.Id}", await store.ReadL1Async(snapshot).ConfigureAwait(false), isActive: false, null).ConfigureAwait(false);
        }

        await UseBitmapsAsync().ConfigureAwait(false);
        return await CompareAsync(repair).ConfigureAwait(false);
    }

    private async ValueTask UseL1Async(string place, ulong[] l1, bool isActive, IProgress<double>? progress)
    {
        var table = new byte[Header.ClusterSize];
        for (var i = 0; i < l1.Length; i++)
        {
            progress?.Report((double)i / l1.Length);
            if ((l1[i] & Qcow2Spec.OffsetMask) == 0) continue;
            if (Claim($"{place}, entry {i}", l1[i] & ~Qcow2Spec.Copied) is not { } cluster) continue;
            if (isActive) _entries.Add(new Entry(i, -1, cluster, (l1[i] & Qcow2Spec.Copied) != 0));
            await store.ReadPaddedAsync(cluster << Header.ClusterBits, table).ConfigureAwait(false);
            for (var at = 0; at < table.Length; at += Header.L2EntrySize)
            {
                var entry = BinaryPrimitives.ReadUInt64BigEndian(table.AsSpan(at));
                if (entry != 0) UseEntry(place, i, at / Header.L2EntrySize, entry, isActive);
            }
        }
    }

    private void UseEntry(string table, int l1, int l2, ulong entry, bool isActive)
    {
        if ((entry & Qcow2Spec.Compressed) != 0)
        {
            if (isActive) (_allocated, _compressed) = (_allocated + 1, _compressed + 1);
            if ((entry & Qcow2Spec.Copied) != 0) Corrupt($"{table}, L2 table {l1}, entry {l2}: a compressed cluster is marked as copied");
            var (first, last) = store.PackedClusters(entry);
            if (first == 0 || first >= Clusters) Corrupt($"{table}, L2 table {l1}, entry {l2}: its compressed data is outside the file");
            else for (var cluster = first; cluster <= Math.Min(last, Clusters - 1); cluster++) Add(cluster);
            return;
        }

        var host = entry & ~Qcow2Spec.Copied & ~(Header.Version >= 3 && !Header.HasExtendedL2 ? Qcow2Spec.ZeroFlag : 0);
        if (host == 0) return;
        if (Claim(host) is not { } data)
        {
            Corrupt($"{table}, L2 table {l1}, entry {l2}: 0x{host:x} is no cluster of the file");
            return;
        }

        if (!isActive) return;
        if ((entry & Qcow2Spec.ZeroFlag) == 0) _allocated++;
        _entries.Add(new Entry(l1, l2, data, (entry & Qcow2Spec.Copied) != 0));
    }

    private async ValueTask UseBitmapsAsync()
    {
        var (offset, length) = Header.BitmapDirectory;
        if (offset == 0) return;
        Use("bitmap directory", offset, length);
        for (var at = 0L; at + 24 <= Math.Min(length, Qcow2Spec.MaximumSnapshotTableBytes);)
        {
            var entry = new byte[24];
            await store.ReadPaddedAsync(offset + at, entry).ConfigureAwait(false);
            var tableOffset = (long)BinaryPrimitives.ReadUInt64BigEndian(entry);
            long entries = BinaryPrimitives.ReadUInt32BigEndian(entry.AsSpan(8)), name = BinaryPrimitives.ReadUInt16BigEndian(entry.AsSpan(18)), extra = BinaryPrimitives.ReadUInt32BigEndian(entry.AsSpan(20));
            Use($"bitmap directory, entry at {at}", tableOffset, entries * 8);
            if (tableOffset > 0 && entries * 8 <= Qcow2Spec.MaximumL1Bytes && tableOffset < store.File.Length)
            {
                var table = new byte[entries * 8];
                await store.ReadPaddedAsync(tableOffset, table).ConfigureAwait(false);
                for (var i = 0; i < entries; i++)
                {
                    if ((BinaryPrimitives.ReadUInt64BigEndian(table.AsSpan(i * 8)) & Qcow2Spec.OffsetMask) is not 0 and var data) Claim($"bitmap table, entry {i}", data);
                }
            }

            at += (24 + name + extra + 7) & ~7L;
        }
    }

    private async ValueTask<Qcow2CheckResult> CompareAsync(Qcow2Repair repair)
    {
        long leaks = 0, mended = 0, end = 0;
        for (long cluster = 0; cluster < Clusters; cluster++)
        {
            ulong used = Count(cluster), stored = await store.ReadRefcountAsync(cluster).ConfigureAwait(false);
            if (used > 0) end = (cluster + 1) << Header.ClusterBits;
            if (used == stored) continue;
            if (used < stored)
            {
                leaks++;
                Tell($"cluster {cluster} is leaked: counted {stored}, used {used}");
            }
            else
            {
                Corrupt($"cluster {cluster}: counted {stored}, used {used}");
            }

            if (repair == Qcow2Repair.All || (repair == Qcow2Repair.Leaks && used < stored))
            {
                await store.RepairRefcountAsync(cluster, used, Clusters).ConfigureAwait(false);
                mended++;
            }
        }

        foreach (var entry in _entries)
        {
            var (_, _, cluster, isCopied) = entry;
            var isOwn = Count(cluster) == 1;
            if (isCopied && !isOwn) Corrupt($"{entry}: marked as copied, but its cluster {cluster} is used {Count(cluster)} times");
            else if (!isCopied && isOwn && await store.ReadRefcountAsync(cluster).ConfigureAwait(false) == 1) Corrupt($"{entry}: not marked as copied, but its cluster {cluster} is used once");
        }

        if (repair != Qcow2Repair.None) await store.FinishRepairAsync(isSound: repair == Qcow2Repair.All && _corruptions + leaks == mended).ConfigureAwait(false);
        var total = (store.Length + Header.ClusterSize - 1) >> Header.ClusterBits;
        return new Qcow2CheckResult(_corruptions, leaks, mended, _allocated, _compressed, total, end, [.. _messages]);
    }

    private void Use(string place, long offset, long bytes)
    {
        if (offset < 0 || bytes < 0 || offset > store.File.Length)
        {
            Corrupt($"{place}: 0x{offset:x} is outside the file");
            return;
        }

        for (var cluster = offset >> Header.ClusterBits; cluster < Clusters && cluster << Header.ClusterBits < offset + bytes; cluster++) Add(cluster);
    }

    /// <summary>Counts the one cluster that an entry points to; null where that is none of the file.</summary>
    private long? Claim(string place, ulong offset)
    {
        if (Claim(offset) is { } cluster) return cluster;
        Corrupt($"{place}: 0x{offset:x} is no cluster of the file");
        return null;
    }

    private long? Claim(ulong offset)
    {
        var cluster = (long)(offset >> Header.ClusterBits);
        if ((offset & ((ulong)Header.ClusterSize - 1)) != 0 || cluster == 0 || cluster >= Clusters) return null;
        Add(cluster);
        return cluster;
    }

    private void Add(long cluster)
    {
        if (!_used.TryGetValue(cluster / PageSize, out var page)) _used.Add(cluster / PageSize, page = new uint[PageSize]);
        page[cluster % PageSize]++;
    }

    private uint Count(long cluster) => _used.TryGetValue(cluster / PageSize, out var page) ? page[cluster % PageSize] : 0;

    private void Corrupt(string message)
    {
        _corruptions++;
        Tell(message);
    }

    private void Tell(string message)
    {
        if (_messages.Count < MaximumMessages) _messages.Add(message);
    }
}
