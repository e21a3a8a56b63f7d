// QEMU docs/interop/qcow2.txt ("Qcow2 Image File Format").
using System.Buffers.Binary;
using System.Collections.Immutable;

namespace Vmm.Devices.Storage.Qcow2;

/// <summary>
/// A disk in a qcow2 image, version 2 or 3: read and written, with compressed clusters, extended L2 entries, lazy refcounts and internal
/// snapshots (read only). It never opens a file that the image names, and touches nothing but the store it is given.
/// <para>Order of writing, which makes the image one that can be opened after a crash at any moment: data and reference counts are durable before an L2
/// entry that points to the cluster is written, L2 tables before L1 entries, and a cluster is free for use only after nothing on the disk points
/// to it. What a crash can leave is clusters that are counted and not used: leaks.</para>
/// <para>Requests run concurrently; a write that allocates has its clusters alone. No lock is held during input and output.</para>
/// </summary>
public sealed partial class Qcow2Store : BlockStore
{
    private readonly Lock _lock = new();
    private readonly RangeLocks _ranges = new();
    private readonly IBlockStore _file;
    private readonly IBlockStore? _backing;
    private readonly string _image;
    private readonly bool _isSnapshot;
    private readonly MetadataCache _l2Cache, _refCache;
    private readonly HashSet<long> _metadata = [];
    private Qcow2Header _header;
    private ulong[] _l1 = [];
    private ulong[] _refTable = [];
    private long _length;
    private bool _isDisposed;

    private Qcow2Store(IBlockStore file, string image, Qcow2Header header, Qcow2Options options)
    {
        (_file, _image, _header, _backing) = (file, image, header, options.Backing);
        _isSnapshot = options.Snapshot is not null;
        IsReadOnly = options.ReadOnly || file.IsReadOnly || _isSnapshot;
        _length = header.Size;
        var tables = Math.Max(8, options.CacheBytes / header.ClusterSize);
        (_l2Cache, _refCache) = (new MetadataCache(tables * 3 / 4), new MetadataCache(Math.Max(4, tables / 4)));
    }

    /// <inheritdoc/>
    public override long Length => Volatile.Read(ref _length);

    /// <inheritdoc/>
    public override bool IsReadOnly { get; }

    /// <inheritdoc/>
    public override BlockTopology Topology => new(512, 4096, _header.ClusterSize, _header.ClusterSize);

    /// <summary>2 or 3.</summary>
    public int Version => _header.Version;

    /// <summary>Bytes of a cluster.</summary>
    public int ClusterSize => _header.ClusterSize;

    /// <summary>How clusters are compressed.</summary>
    public Qcow2Compression Compression => _header.Compression;

    /// <summary>Whether reference counts are written late.</summary>
    public bool HasLazyRefcounts => _header.HasLazyRefcounts;

    /// <summary>Whether clusters are allocated in 32 parts.</summary>
    public bool HasExtendedL2 => _header.HasExtendedL2;

    /// <summary>Whether the image was not closed after its last changes with late reference counts.</summary>
    public bool IsDirty => (_header.IncompatibleFeatures & Qcow2Spec.IncompatibleDirty) != 0;

    /// <summary>Whether the image is marked as damaged.</summary>
    public bool IsCorrupt => (_header.IncompatibleFeatures & Qcow2Spec.IncompatibleCorrupt) != 0;

    /// <summary>The backing file's name as the image has it, for reports; null where it names none.</summary>
    public string? BackingFile => _header.BackingFile;

    /// <summary>The backing file's format as the image has it.</summary>
    public string? BackingFormat => _header.BackingFormat;

    /// <summary>The internal snapshots.</summary>
    public ImmutableArray<Qcow2Snapshot> Snapshots { get; private set; } = [];

    internal Qcow2Header Header => _header;

    internal IBlockStore File => _file;

    internal string Image => _image;

    private int ClusterBits => _header.ClusterBits;

    private long SnapshotTableLength { get; set; }

    /// <summary>Opens an image. The store takes over the file and the backing store, also when this fails.</summary>
    /// <param name="file">The image's bytes.</param>
    /// <param name="image">A name for messages.</param>
    /// <param name="options">How; null to read and write an image that names no backing file.</param>
    /// <exception cref="ImageFormatException">The image is malformed, damaged, not served, or names a backing file where none is given.</exception>
    public static async ValueTask<Qcow2Store> OpenAsync(IBlockStore file, string image, Qcow2Options? options = null)
    {
        options ??= new Qcow2Options();
        try
        {
            var header = await Qcow2Header.ReadAsync(file, image).ConfigureAwait(false);
            var store = new Qcow2Store(file, image, header, options);
            await store.LoadAsync(options).ConfigureAwait(false);
            return store;
        }
        catch
        {
            await file.DisposeAsync().ConfigureAwait(false);
            if (options.Backing is { } backing) await backing.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Makes an empty image in a store, whose contents are lost.</summary>
    /// <param name="file">The store; it is resized as needed.</param>
    /// <param name="length">The disk's size in bytes.</param>
    /// <param name="options">What the image is like; null for the defaults.</param>
    /// <exception cref="ArgumentException">The options contradict each other or the format.</exception>
    public static async ValueTask CreateAsync(IBlockStore file, long length, Qcow2CreateOptions? options = null)
    {
        options ??= new Qcow2CreateOptions();
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        options.Check(length);
        var header = new Qcow2Header
        {
            Version = options.Version, ClusterBits = int.Log2(options.ClusterSize), Size = length, L1TableOffset = 0, L1Size = 0, RefcountTableOffset = options.ClusterSize, RefcountTableClusters = 1,
            RefcountOrder = int.Log2(options.RefcountBits), Compression = options.Compression, BackingFile = options.BackingFile, BackingFormat = options.BackingFormat,
            IncompatibleFeatures = (options.ExtendedL2 ? Qcow2Spec.IncompatibleExtendedL2 : 0) | (options.Compression != Qcow2Compression.Zlib ? Qcow2Spec.IncompatibleCompression : 0),
            CompatibleFeatures = options.LazyRefcounts ? Qcow2Spec.CompatibleLazyRefcounts : 0,
        };
        long cluster = options.ClusterSize, perBlock = cluster * 8 / options.RefcountBits;
        var l1Size = Math.Max(1, header.L1EntriesFor(length));
        var l1Clusters = (l1Size * 8L + cluster - 1) / cluster;
        long blocks = 1, tableClusters = 1, total;
        while (true)
        {
            total = 1 + tableClusters + blocks + l1Clusters;
            var needed = (total + perBlock - 1) / perBlock;
            var neededTable = (needed * 8 + cluster - 1) / cluster;
            if (needed <= blocks && neededTable <= tableClusters) break;
            (blocks, tableClusters) = (Math.Max(blocks, needed), Math.Max(tableClusters, neededTable));
        }

        header = header with { L1Size = l1Size, L1TableOffset = (1 + tableClusters + blocks) * cluster, RefcountTableClusters = (int)tableClusters };
        await file.ResizeAsync(0).ConfigureAwait(false);
        await file.ResizeAsync(total * cluster).ConfigureAwait(false);
        var table = new byte[tableClusters * cluster];
        for (long block = 0; block < blocks; block++)
        {
            var at = (1 + tableClusters + block) * cluster;
            BinaryPrimitives.WriteUInt64BigEndian(table.AsSpan((int)block * 8), (ulong)at);
            var counts = new byte[cluster];
            for (var i = 0; i < perBlock && block * perBlock + i < total; i++) RefcountField.Set(counts, i, header.RefcountOrder, 1);
            await file.WriteAsync(at, counts).ConfigureAwait(false);
        }

        await file.WriteAsync(cluster, table).ConfigureAwait(false);
        await file.FlushAsync().ConfigureAwait(false);
        await file.WriteAsync(0, header.ToBytes()).ConfigureAwait(false);
        await file.FlushAsync().ConfigureAwait(false);
    }

    /// <summary>Flushes, brings late reference counts into the file and closes it.</summary>
    public override async ValueTask DisposeAsync()
    {
        if (_isDisposed) return;
        _isDisposed = true;
        try
        {
            if (!IsReadOnly) await CloseAsync().ConfigureAwait(false);
        }
        finally
        {
            await _file.DisposeAsync().ConfigureAwait(false);
            if (_backing is not null) await _backing.DisposeAsync().ConfigureAwait(false);
        }
    }

    private ImageFormatException Wrong(string place, string reason) => new(_image, place, reason);

    private async ValueTask LoadAsync(Qcow2Options options)
    {
        if (_header.BackingFile is { } name && _backing is null && !options.ForRepair) throw Wrong("backing_file_offset", $"the image lies over '{name}', and files that an image names are not opened; give the backing store, or allow it by name");
        if (IsCorrupt && !IsReadOnly && !options.ForRepair) throw Wrong("incompatible_features", "the image is marked as damaged (bit 1): open it read-only, or mend it by 'vmm image check --repair'");
        (Snapshots, SnapshotTableLength) = await Qcow2SnapshotTable.ReadAsync(_header, _file, _image).ConfigureAwait(false);
        var (l1Offset, l1Size) = (_header.L1TableOffset, _header.L1Size);
        if (options.Snapshot is { } wanted)
        {
            var snapshot = Snapshots.FirstOrDefault(s => s.Id == wanted) ?? Snapshots.FirstOrDefault(s => s.Name == wanted) ?? throw Wrong("snapshot table", $"there is no snapshot '{wanted}'");
            (_length, l1Offset, l1Size) = (snapshot.Size, snapshot.L1TableOffset, snapshot.L1Size);
        }

        // Entries past the disk's end are kept as they are, but only those within it are looked at.
        _l1 = await ReadTableAsync(l1Offset, l1Size).ConfigureAwait(false);
        _refTable = await ReadTableAsync(_header.RefcountTableOffset, (int)((long)_header.RefcountTableClusters * ClusterSize / 8)).ConfigureAwait(false);
        NoteMetadata(isStrict: !options.ForRepair);
        if (IsReadOnly) return;
        _openedLength = _file.Length;
        _zeroFrom = (_file.Length + ClusterSize - 1) >> ClusterBits << ClusterBits;
        if (_header.AutoclearFeatures != 0)
        {
            // Dirty bitmaps and whatever else is kept by others is no longer right once we write.
            _header = _header with { AutoclearFeatures = 0, BitmapDirectory = default };
            await WriteFeaturesAsync().ConfigureAwait(false);
        }

        if (!IsDirty || options.ForRepair) return;
        var found = await new Qcow2Checker(this).RunAsync(Qcow2Repair.All).ConfigureAwait(false);
        if (IsDirty) throw Wrong("incompatible_features", $"the image was not closed, and counting anew does not mend it: {found.Messages.FirstOrDefault()}");
    }

    private async ValueTask<ulong[]> ReadTableAsync(long offset, int entries)
    {
        var bytes = new byte[entries * 8];
        await _file.ReadAsync(offset, bytes).ConfigureAwait(false);
        var table = new ulong[entries];
        for (var i = 0; i < entries; i++) table[i] = BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(i * 8));
        return table;
    }

    /// <summary>Remembers the clusters that hold tables: no guest data may be written there.</summary>
    private void NoteMetadata(bool isStrict)
    {
        void Note(string place, long offset, long bytes)
        {
            for (var cluster = offset >> ClusterBits; cluster << ClusterBits < offset + bytes; cluster++)
            {
                if (!_metadata.Add(cluster) && isStrict) throw Wrong(place, $"its cluster at 0x{cluster << ClusterBits:x} holds another table");
            }
        }

        _metadata.Clear();
        Note("header", 0, 1);
        Note("l1_table_offset", _header.L1TableOffset, _header.L1Size * 8L);
        Note("refcount_table_offset", _header.RefcountTableOffset, (long)_header.RefcountTableClusters * ClusterSize);
        if (SnapshotTableLength > 0) Note("snapshots_offset", _header.SnapshotsOffset, SnapshotTableLength);
        if (!_isSnapshot)
        {
            foreach (var snapshot in Snapshots) Note($"snapshot {snapshot.Id}, l1_table_offset", snapshot.L1TableOffset, snapshot.L1Size * 8L);
        }

        for (var i = 0; i < _refTable.Length; i++)
        {
            if (_refTable[i] == 0 || !isStrict) continue;
            Note($"refcount table, entry {i}", CheckedCluster($"refcount table, entry {i}", _refTable[i]), ClusterSize);
        }

        for (var i = 0; i < _l1.Length; i++)
        {
            if ((_l1[i] & Qcow2Spec.OffsetMask) == 0 || !isStrict) continue;
            Note($"L1 table, entry {i}", CheckedCluster($"L1 table, entry {i}", _l1[i] & ~Qcow2Spec.Copied), ClusterSize);
        }
    }

    /// <summary>An offset that an entry holds, if it is the start of a cluster of the file.</summary>
    private long CheckedCluster(string place, ulong offset)
    {
        if (offset == 0 || (offset & ((ulong)ClusterSize - 1)) != 0) throw Wrong(place, $"0x{offset:x} is not the start of a cluster");
        if (offset >= (ulong)_file.Length) throw Wrong(place, $"0x{offset:x} is past the file's end at 0x{_file.Length:x}");
        return (long)offset;
    }

    /// <summary>Reads the file; what is past its end is zeros, as the last cluster of an image may be cut short.</summary>
    private async ValueTask ReadFileAsync(long offset, Memory<byte> destination)
    {
        var inside = (int)Math.Clamp(_file.Length - offset, 0, destination.Length);
        destination.Span[inside..].Clear();
        if (inside > 0) await _file.ReadAsync(offset, destination[..inside]).ConfigureAwait(false);
    }

    private async ValueTask WriteFeaturesAsync()
    {
        if (Version < 3) return;
        var bytes = new byte[24];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, _header.IncompatibleFeatures);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(8), _header.CompatibleFeatures);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(16), _header.AutoclearFeatures);
        await _file.WriteAsync(72, bytes).ConfigureAwait(false);
        await _file.FlushAsync().ConfigureAwait(false);
    }
}
