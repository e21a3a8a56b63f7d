// VMware "Virtual Disk Format 5.0": hosted sparse extents, stream-optimized extents, flat extents.
using System.Buffers.Binary;
using System.IO.Compression;

namespace Vmm.Devices.Storage.Vmdk;

/// <summary>
/// A disk in a VMDK image, read-only: monolithicSparse, streamOptimized, and monolithicFlat, whose bytes are in a second file that the
/// caller opens. Images with a parent are refused.
/// </summary>
public sealed class VmdkStore : BlockStore
{
    private const int MarkerLength = 12;

    private readonly IBlockStore _file;
    private readonly string _image;
    private readonly VmdkHeader? _header;
    private readonly IBlockStore? _flat;
    private readonly long _flatOffset;
    private readonly TablePages _tables;
    private Grain? _last;

    private VmdkStore(IBlockStore file, string image, VmdkHeader? header, string createType, IBlockStore? flat, long flatOffset, long length)
    {
        (_file, _image, _header, CreateType, _flat, _flatOffset, Length) = (file, image, header, createType, flat, flatOffset, length);
        _tables = new TablePages(file);
    }

    private sealed record Grain(long Offset, byte[] Bytes);

    /// <inheritdoc/>
    public override long Length { get; }

    /// <inheritdoc/>
    public override bool IsReadOnly => true;

    /// <inheritdoc/>
    public override BlockTopology Topology => BlockTopology.Default with { DiscardGranularity = _header?.GrainSize ?? 4096 };

    /// <summary>The image's kind, as its descriptor has it.</summary>
    public string CreateType { get; }

    /// <summary>Opens an image. The store takes over the file, also when this fails.</summary>
    /// <param name="file">The image's bytes: a sparse extent, or a descriptor.</param>
    /// <param name="image">A name for messages.</param>
    /// <param name="openFlat">Opens the file of a flat image by the name that the descriptor has for it, if the caller trusts that name; null refuses flat images.</param>
    /// <exception cref="ImageFormatException">The image is malformed, damaged or not served.</exception>
    public static async ValueTask<VmdkStore> OpenAsync(IBlockStore file, string image, Func<string, IBlockStore>? openFlat = null)
    {
        try
        {
            var head = new byte[4];
            await file.ReadAsync(0, head.AsMemory(0, (int)Math.Min(4, file.Length))).ConfigureAwait(false);
            return BinaryPrimitives.ReadUInt32LittleEndian(head) == VmdkHeader.Magic && file.Length >= VmdkHeader.Length
                ? await OpenSparseAsync(file, image).ConfigureAwait(false)
                : await OpenFlatAsync(file, image, openFlat).ConfigureAwait(false);
        }
        catch
        {
            await file.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <inheritdoc/>
    public override ValueTask FlushAsync() => default;

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        await _file.DisposeAsync().ConfigureAwait(false);
        if (_flat is not null) await _flat.DisposeAsync().ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override async ValueTask ReadCoreAsync(long offset, Memory<byte> destination)
    {
        if (_header is null)
        {
            await _flat!.ReadAsync(_flatOffset + offset, destination).ConfigureAwait(false);
            return;
        }

        while (!destination.IsEmpty)
        {
            var within = (int)(offset % _header.GrainSize);
            var piece = destination[..Math.Min(destination.Length, _header.GrainSize - within)];
            var grain = await FindAsync(offset / _header.GrainSize).ConfigureAwait(false);
            if (grain is not { } at) piece.Span.Clear();
            else if (_header.IsCompressed) (await UnpackAsync(at, offset / _header.GrainSize).ConfigureAwait(false)).AsMemory(within, piece.Length).CopyTo(piece);
            else await _file.ReadAsync(at + within, piece).ConfigureAwait(false);
            (destination, offset) = (destination[piece.Length..], offset + piece.Length);
        }
    }

    /// <inheritdoc/>
    protected override async ValueTask<BlockExtent> ExtentCoreAsync(long offset, long length)
    {
        if (_header is null) return await _flat!.GetExtentAsync(_flatOffset + offset, length).ConfigureAwait(false);
        return new BlockExtent(Math.Min(length, _header.GrainSize - offset % _header.GrainSize), await FindAsync(offset / _header.GrainSize).ConfigureAwait(false) is null);
    }

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> source) => throw new InvalidOperationException("VMDK images are read-only.");

    /// <inheritdoc/>
    protected override ValueTask ResizeCoreAsync(long length) => throw new InvalidOperationException("VMDK images are read-only.");

    private static async ValueTask<VmdkStore> OpenSparseAsync(IBlockStore file, string image)
    {
        var header = await VmdkHeader.ReadAsync(file, image).ConfigureAwait(false);
        var type = "monolithicSparse";
        if (header.DescriptorLength > 0)
        {
            var text = new byte[header.DescriptorLength];
            await file.ReadAsync(header.DescriptorOffset, text).ConfigureAwait(false);
            type = VmdkDescriptor.Parse(text, image).CreateType;
        }

        return new VmdkStore(file, image, header, type, null, 0, header.Capacity);
    }

    private static async ValueTask<VmdkStore> OpenFlatAsync(IBlockStore file, string image, Func<string, IBlockStore>? openFlat)
    {
        if (file.Length > VmdkDescriptor.MaximumLength) throw new ImageFormatException(image, "magicNumber", "the file is neither a sparse extent nor a descriptor; state the format that the image has");
        var text = new byte[file.Length];
        await file.ReadAsync(0, text).ConfigureAwait(false);
        if (!text.AsSpan().StartsWith("# Disk DescriptorFile"u8)) throw new ImageFormatException(image, "magicNumber", "the file is neither a sparse extent nor a descriptor; state the format that the image has");
        var descriptor = VmdkDescriptor.Parse(text, image);
        if (descriptor.FlatName is not { } name) throw new ImageFormatException(image, "createType", $"a descriptor in a file of its own is for monolithicFlat, not for {descriptor.CreateType}");
        if (openFlat is null) throw new ImageFormatException(image, "extent", $"the bytes are in '{name}', and files that an image names are not opened; convert the image, or name that file yourself");
        var flat = openFlat(name);
        if (flat.Length / 512 < descriptor.FlatOffset + descriptor.FlatSectors)
        {
            await flat.DisposeAsync().ConfigureAwait(false);
            throw new ImageFormatException(image, "extent", $"'{name}' has {flat.Length} bytes, less than the extent's {descriptor.FlatSectors} sectors at {descriptor.FlatOffset}");
        }

        return new VmdkStore(file, image, null, descriptor.CreateType, flat, descriptor.FlatOffset * 512, descriptor.FlatSectors * 512);
    }

    /// <summary>Where a grain is in the file; null where it is zeros.</summary>
    private async ValueTask<long?> FindAsync(long grain)
    {
        var (tableIndex, index) = Math.DivRem(grain, _header!.TableEntries);
        var table = await ReadEntryAsync(_header.DirectoryOffset + tableIndex * 4, $"grain directory, entry {tableIndex}").ConfigureAwait(false);
        if (table == 0) return null;
        var entry = await ReadEntryAsync(table * 512L + index * 4, $"grain table {tableIndex}, entry {index}").ConfigureAwait(false);
        if (entry == 0 || (entry == 1 && _header.HasZeroGrains)) return null;
        var at = entry * 512L;
        var length = _header.IsCompressed ? MarkerLength : Math.Min(_header.GrainSize, Length - grain * _header.GrainSize);
        if (at > _file.Length - length) throw new ImageFormatException(_image, $"grain table {tableIndex}, entry {index}", $"the grain at sector {entry} is past the file's end");
        return at;
    }

    private async ValueTask<uint> ReadEntryAsync(long offset, string place)
    {
        if (offset > _file.Length - 4) throw new ImageFormatException(_image, place, "it is past the file's end");
        var (page, at) = await _tables.FindAsync(offset).ConfigureAwait(false);
        return BinaryPrimitives.ReadUInt32LittleEndian(page.AsSpan(at));
    }

    private async ValueTask<byte[]> UnpackAsync(long at, long grain)
    {
        if (Volatile.Read(ref _last) is { } last && last.Offset == at) return last.Bytes;
        var marker = new byte[MarkerLength];
        await _file.ReadAsync(at, marker).ConfigureAwait(false);
        var size = BinaryPrimitives.ReadUInt32LittleEndian(marker.AsSpan(8));
        if (size > 2 * _header!.GrainSize + 1024 || at + MarkerLength > _file.Length - size) throw new ImageFormatException(_image, $"grain {grain}, size", $"{size} bytes of compressed data are too many, or past the file's end");
        var packed = new byte[size];
        await _file.ReadAsync(at + MarkerLength, packed).ConfigureAwait(false);
        var bytes = new byte[_header.GrainSize];
        try
        {
            using var inflate = new ZLibStream(new MemoryStream(packed), CompressionMode.Decompress);

            // The last grain of a disk may be shorter.
            var got = inflate.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
            if (got < Math.Min(bytes.Length, Length - grain * bytes.Length)) throw new ImageFormatException(_image, $"grain {grain}", "its compressed data ends too early");
        }
        catch (InvalidDataException e)
        {
            throw new ImageFormatException(_image, $"grain {grain}", "its compressed data is damaged", e);
        }

        Volatile.Write(ref _last, new Grain(at, bytes));
        return bytes;
    }
}
