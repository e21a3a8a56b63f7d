// [MS-VHDX] "Virtual Hard Disk v2 (VHDX) File Format", 2 "Structures".
using System.Buffers.Binary;

namespace Vmm.Devices.Storage.Vhdx;

/// <summary>A disk in a VHDX image, fixed or dynamic, read-only. Images with a parent, and those that were not closed and have a log to replay, are refused.</summary>
public sealed class VhdxStore : BlockStore
{
    private const int NotPresent = 0, Undefined = 1, Zero = 2, Unmapped = 3, FullyPresent = 6, PartiallyPresent = 7;

    private readonly IBlockStore _file;
    private readonly string _image;
    private readonly VhdxLayout _layout;
    private readonly TablePages _bat;

    private VhdxStore(IBlockStore file, string image, VhdxLayout layout) => (_file, _image, _layout, _bat) = (file, image, layout, new TablePages(file));

    /// <inheritdoc/>
    public override long Length => _layout.DiskSize;

    /// <inheritdoc/>
    public override bool IsReadOnly => true;

    /// <inheritdoc/>
    public override BlockTopology Topology => new(_layout.LogicalSectorSize, Math.Max(_layout.LogicalSectorSize, 4096), _layout.BlockSize, _layout.BlockSize);

    /// <summary>Bytes of a block: the grain of allocation.</summary>
    public int BlockSize => _layout.BlockSize;

    /// <summary>Opens an image. The store takes over the file, also when this fails.</summary>
    /// <param name="file">The image's bytes.</param>
    /// <param name="image">A name for messages.</param>
    /// <exception cref="ImageFormatException">The image is malformed, damaged or not served.</exception>
    public static async ValueTask<VhdxStore> OpenAsync(IBlockStore file, string image)
    {
        try
        {
            return new VhdxStore(file, image, await VhdxLayout.ReadAsync(file, image).ConfigureAwait(false));
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
    public override ValueTask DisposeAsync() => _file.DisposeAsync();

    /// <inheritdoc/>
    protected override async ValueTask ReadCoreAsync(long offset, Memory<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            var within = offset % BlockSize;
            var piece = destination[..(int)Math.Min(destination.Length, BlockSize - within)];
            var block = await FindAsync(offset / BlockSize).ConfigureAwait(false);
            if (block is { } at) await _file.ReadAsync(at + within, piece).ConfigureAwait(false);
            else piece.Span.Clear();
            (destination, offset) = (destination[piece.Length..], offset + piece.Length);
        }
    }

    /// <inheritdoc/>
    protected override async ValueTask<BlockExtent> ExtentCoreAsync(long offset, long length) =>
        new(Math.Min(length, BlockSize - offset % BlockSize), await FindAsync(offset / BlockSize).ConfigureAwait(false) is null);

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(long offset, ReadOnlyMemory<byte> source) => throw new InvalidOperationException("VHDX images are read-only.");

    /// <inheritdoc/>
    protected override ValueTask ResizeCoreAsync(long length) => throw new InvalidOperationException("VHDX images are read-only.");

    /// <summary>Where a payload block is in the file; null where it is zeros.</summary>
    private async ValueTask<long?> FindAsync(long block)
    {
        // A sector bitmap's entry follows those of each chunk.
        var index = block + block / _layout.ChunkRatio;
        var (page, at) = await _bat.FindAsync(_layout.BatOffset + index * 8).ConfigureAwait(false);
        var entry = BinaryPrimitives.ReadUInt64LittleEndian(page.AsSpan(at));
        var place = (long)(entry >> 20 << 20);
        switch ((int)(entry & 7))
        {
            case NotPresent or Undefined or Zero or Unmapped:
                return null;
            case FullyPresent:
                var inDisk = Math.Min(BlockSize, Length - block * BlockSize);
                if (place < 1 << 20 || place > _file.Length - inDisk) throw new ImageFormatException(_image, $"BAT entry {index}", $"the block at 0x{place:x} is outside the file of 0x{_file.Length:x} bytes");
                return place;
            case PartiallyPresent:
                throw new ImageFormatException(_image, $"BAT entry {index}", "a block that is present in part needs a parent, and files that an image names are not opened");
            default:
                throw new ImageFormatException(_image, $"BAT entry {index}", $"state {entry & 7} is not known");
        }
    }
}
