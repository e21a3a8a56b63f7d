// QEMU docs/interop/qcow2.txt, "Header" and "Header extensions".
using System.Buffers.Binary;
using System.Text;

namespace Vmm.Devices.Storage.Qcow2;

/// <summary>A header whose every field was checked; what the image's tables say is checked when they are used.</summary>
internal sealed record Qcow2Header
{
    public required int Version { get; init; }

    public required int ClusterBits { get; init; }

    public required long Size { get; init; }

    public required long L1TableOffset { get; init; }

    public required int L1Size { get; init; }

    public required long RefcountTableOffset { get; init; }

    public required int RefcountTableClusters { get; init; }

    public int NbSnapshots { get; init; }

    public long SnapshotsOffset { get; init; }

    public ulong IncompatibleFeatures { get; init; }

    public ulong CompatibleFeatures { get; init; }

    public ulong AutoclearFeatures { get; init; }

    public int RefcountOrder { get; init; } = 4;

    public Qcow2Compression Compression { get; init; }

    public string? BackingFile { get; init; }

    public string? BackingFormat { get; init; }

    /// <summary>Where the directory of persistent dirty bitmaps is, and its length; zero where there are none.</summary>
    public (long Offset, long Length) BitmapDirectory { get; init; }

    public int ClusterSize => 1 << ClusterBits;

    public bool HasExtendedL2 => (IncompatibleFeatures & Qcow2Spec.IncompatibleExtendedL2) != 0;

    public int L2EntrySize => HasExtendedL2 ? 16 : 8;

    public int L2Entries => ClusterSize / L2EntrySize;

    public bool HasLazyRefcounts => (CompatibleFeatures & Qcow2Spec.CompatibleLazyRefcounts) != 0;

    /// <summary>Entries that an L1 table needs for a disk.</summary>
    public int L1EntriesFor(long size)
    {
        var perEntry = (long)L2Entries << ClusterBits;
        return (int)((size + perEntry - 1) / perEntry);
    }

    public static async ValueTask<Qcow2Header> ReadAsync(IBlockStore file, string image)
    {
        ImageFormatException Wrong(string field, string reason) => new(image, field, reason);
        if (file.Length < Qcow2Spec.Version2HeaderLength) throw Wrong("header", $"the file has {file.Length} bytes, too few for a qcow2 header");
        var head = new byte[Qcow2Spec.HeaderLengthWithCompression];
        var have = (int)Math.Min(file.Length, head.Length);
        await file.ReadAsync(0, head.AsMemory(0, have)).ConfigureAwait(false);
        uint U32(int at) => BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(at));
        ulong U64(int at) => BinaryPrimitives.ReadUInt64BigEndian(head.AsSpan(at));

        if (U32(0) != Qcow2Spec.Magic) throw Wrong("magic", $"0x{U32(0):x8} is not qcow2's; state the format that the image has");
        var version = U32(4);
        if (version is not (2 or 3)) throw Wrong("version", $"{version} is not served, only 2 and 3");
        if (U32(20) is < 9 or > 21) throw Wrong("cluster_bits", $"{U32(20)} is not from 9 to 21");
        var clusterBits = (int)U32(20);
        var clusterSize = 1L << clusterBits;
        if (file.Length < Math.Min(clusterSize, Qcow2Spec.Version3HeaderLength)) throw Wrong("header", "the file ends in its header");
        if (U32(32) != 0) throw Wrong("crypt_method", $"{U32(32)}: encrypted images are not served");

        uint headerLength = Qcow2Spec.Version2HeaderLength, refcountOrder = 4;
        ulong incompatible = 0, compatible = 0, autoclear = 0;
        byte compression = 0;
        if (version == 3)
        {
            (incompatible, compatible, autoclear, refcountOrder, headerLength) = (U64(72), U64(80), U64(88), U32(96), U32(100));
            if (headerLength < Qcow2Spec.Version3HeaderLength || headerLength > clusterSize || headerLength % 8 != 0 || headerLength > file.Length) throw Wrong("header_length", $"{headerLength} is not a multiple of 8 from 104 to the cluster size");
            if (headerLength > Qcow2Spec.Version3HeaderLength) compression = head[104];
        }

        const ulong Known = Qcow2Spec.IncompatibleDirty | Qcow2Spec.IncompatibleCorrupt | Qcow2Spec.IncompatibleCompression | Qcow2Spec.IncompatibleExtendedL2;
        if ((incompatible & Qcow2Spec.IncompatibleExternalData) != 0) throw Wrong("incompatible_features", "the data is in another file (bit 2), and files that an image names are not opened; convert the image by qemu-img");
        if ((incompatible & ~Known) != 0) throw Wrong("incompatible_features", $"0x{incompatible & ~Known:x} is not known; the image needs a newer program");
        if (compression > 1) throw Wrong("compression_type", $"{compression} is not served, only 0 (zlib) and 1 (zstd)");
        if (compression != 0 != ((incompatible & Qcow2Spec.IncompatibleCompression) != 0)) throw Wrong("compression_type", $"{compression} does not go with bit 3 of incompatible_features");
        var isExtended = (incompatible & Qcow2Spec.IncompatibleExtendedL2) != 0;
        if (isExtended && clusterBits < 14) throw Wrong("cluster_bits", $"{clusterBits}, but extended L2 entries need 14 or more");
        if (refcountOrder > 6) throw Wrong("refcount_order", $"{refcountOrder} is above 6");

        var size = U64(24);
        if (size > (ulong)Qcow2Spec.MaximumLength((int)clusterSize, isExtended)) throw Wrong("size", $"{size} bytes need an L1 table of more than 32 MiB");
        void CheckTable(string field, ulong offset, long bytes)
        {
            if (offset % (ulong)clusterSize != 0) throw Wrong(field, $"0x{offset:x} is not at the start of a cluster");
            if (offset == 0 && bytes > 0) throw Wrong(field, "it is in the header's cluster");
            if (offset > (ulong)file.Length || (long)offset + bytes > file.Length) throw Wrong(field, $"0x{offset:x} with {bytes} bytes is past the file's end at 0x{file.Length:x}");
        }

        if (U32(36) > Qcow2Spec.MaximumL1Bytes / 8) throw Wrong("l1_size", $"{U32(36)} entries are more than {Qcow2Spec.MaximumL1Bytes / 8}");
        CheckTable("l1_table_offset", U64(40), U32(36) * 8L);
        if (U32(56) == 0 || U32(56) * clusterSize > Math.Max(Qcow2Spec.MaximumRefTableBytes, clusterSize)) throw Wrong("refcount_table_clusters", $"{U32(56)} is none, or more than 8 MiB");
        CheckTable("refcount_table_offset", U64(48), U32(56) * clusterSize);
        if (U32(60) > Qcow2Spec.MaximumSnapshots) throw Wrong("nb_snapshots", $"{U32(60)} is more than {Qcow2Spec.MaximumSnapshots}");
        if (U32(60) > 0) CheckTable("snapshots_offset", U64(64), U32(60) * 40L);

        string? backing = null;
        if (U64(8) != 0)
        {
            if (U32(16) is 0 or > Qcow2Spec.MaximumBackingName) throw Wrong("backing_file_size", $"{U32(16)} is not from 1 to {Qcow2Spec.MaximumBackingName}");
            if (U64(8) < headerLength || U64(8) + U32(16) > (ulong)Math.Min(clusterSize, file.Length)) throw Wrong("backing_file_offset", $"0x{U64(8):x}: the name is not in the first cluster, after the header");
            var name = new byte[U32(16)];
            await file.ReadAsync((long)U64(8), name).ConfigureAwait(false);
            backing = Encoding.UTF8.GetString(name);
        }

        var header = new Qcow2Header
        {
            Version = (int)version, ClusterBits = clusterBits, Size = (long)size, L1TableOffset = (long)U64(40), L1Size = (int)U32(36), RefcountTableOffset = (long)U64(48),
            RefcountTableClusters = (int)U32(56), NbSnapshots = (int)U32(60), SnapshotsOffset = (long)U64(64), IncompatibleFeatures = incompatible, CompatibleFeatures = compatible,
            AutoclearFeatures = autoclear, RefcountOrder = (int)refcountOrder, Compression = (Qcow2Compression)compression, BackingFile = backing,
        };
        if (header.L1Size < header.L1EntriesFor(header.Size)) throw Wrong("l1_size", $"{header.L1Size} entries are too few for a disk of {size} bytes");
        return await ReadExtensionsAsync(header, file, image, headerLength, backing is null ? clusterSize : (long)U64(8)).ConfigureAwait(false);
    }

    private static async ValueTask<Qcow2Header> ReadExtensionsAsync(Qcow2Header header, IBlockStore file, string image, long at, long end)
    {
        end = Math.Min(end, file.Length);
        var head = new byte[8];
        while (at + 8 <= end)
        {
            await file.ReadAsync(at, head).ConfigureAwait(false);
            uint type = BinaryPrimitives.ReadUInt32BigEndian(head), length = BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(4));
            at += 8;
            if (type == Qcow2Spec.ExtensionEnd) break;
            if (length > end - at) throw new ImageFormatException(image, $"header extension 0x{type:x8}", $"its length of {length} bytes passes the first cluster or the backing file's name");
            if (type == Qcow2Spec.ExtensionBackingFormat && length <= 64)
            {
                var name = new byte[length];
                await file.ReadAsync(at, name).ConfigureAwait(false);
                header = header with { BackingFormat = Encoding.UTF8.GetString(name) };
            }
            else if (type == Qcow2Spec.ExtensionBitmaps && (header.AutoclearFeatures & Qcow2Spec.AutoclearBitmaps) != 0)
            {
                var body = new byte[24];
                if (length != 24) throw new ImageFormatException(image, "bitmaps extension", $"it has {length} bytes, not 24");
                await file.ReadAsync(at, body).ConfigureAwait(false);
                header = header with { BitmapDirectory = ((long)BinaryPrimitives.ReadUInt64BigEndian(body.AsSpan(16)), (long)BinaryPrimitives.ReadUInt64BigEndian(body.AsSpan(8))) };
            }

            at += (length + 7) & ~7L;
        }

        return header;
    }

    /// <summary>The first cluster of a new image.</summary>
    public byte[] ToBytes()
    {
        var bytes = new byte[ClusterSize];
        void U32(int at, uint value) => BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(at), value);
        void U64(int at, ulong value) => BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(at), value);
        U32(0, Qcow2Spec.Magic);
        U32(4, (uint)Version);
        U32(20, (uint)ClusterBits);
        U64(24, (ulong)Size);
        U32(36, (uint)L1Size);
        U64(40, (ulong)L1TableOffset);
        U64(48, (ulong)RefcountTableOffset);
        U32(56, (uint)RefcountTableClusters);
        var at = Qcow2Spec.Version2HeaderLength;
        if (Version == 3)
        {
            U64(72, IncompatibleFeatures);
            U64(80, CompatibleFeatures);
            U64(88, AutoclearFeatures);
            U32(96, (uint)RefcountOrder);
            U32(100, Qcow2Spec.HeaderLengthWithCompression);
            bytes[104] = (byte)Compression;
            at = Qcow2Spec.HeaderLengthWithCompression;
        }

        if (BackingFormat is not null)
        {
            var format = Encoding.UTF8.GetBytes(BackingFormat);
            U32(at, Qcow2Spec.ExtensionBackingFormat);
            U32(at + 4, (uint)format.Length);
            format.CopyTo(bytes, at + 8);
            at += 8 + ((format.Length + 7) & ~7);
        }

        at += 8; // the end of the extensions: type and length 0
        if (BackingFile is not null)
        {
            var name = Encoding.UTF8.GetBytes(BackingFile);
            if (at + name.Length > bytes.Length) throw new ArgumentException("The backing file's name does not fit the first cluster: choose larger clusters.");
            U64(8, (ulong)at);
            U32(16, (uint)name.Length);
            name.CopyTo(bytes, at);
        }

        return bytes;
    }
}
