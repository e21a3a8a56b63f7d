// [MS-VHDX] 2.2 "Header Section", 2.6 "Metadata Region".
using System.Buffers.Binary;
using System.Numerics;

namespace Vmm.Devices.Storage.Vhdx;

/// <summary>What headers, region table and metadata say, checked.</summary>
internal sealed record VhdxLayout(long DiskSize, int BlockSize, int LogicalSectorSize, long BatOffset, long ChunkRatio)
{
    private const int HeaderSize = 4096, TableSize = 64 << 10, MaximumEntries = 2047;
    private const long MaximumDisk = 64L << 40;

    private static readonly Guid Bat = new("2DC27766-F623-4200-9D64-115E9BFD4A08"), Metadata = new("8B7CA206-4790-4B9A-B8FE-575F050F886E");
    private static readonly Guid FileParameters = new("CAA16737-FA36-4D43-B3B6-33F0AA44E76B"), DiskSizeItem = new("2FA54224-CD1B-4876-B211-5DBED83BF4B8");
    private static readonly Guid LogicalSector = new("8141BF1D-A96F-4709-BA47-F233A8FAAB5F"), PhysicalSector = new("CDA348C7-445D-4471-9CC9-E9885251C556");
    private static readonly Guid DiskId = new("BECA12AB-B2E6-4523-93EF-C309E000C746"), ParentLocator = new("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C");

    public static async ValueTask<VhdxLayout> ReadAsync(IBlockStore file, string image)
    {
        if (file.Length < 1 << 20) throw new ImageFormatException(image, "file identifier", $"the file has {file.Length} bytes, less than the 1 MiB of the header section");
        var identifier = await ReadAsync(file, 0, 8).ConfigureAwait(false);
        if (!identifier.AsSpan().SequenceEqual("vhdxfile"u8)) throw new ImageFormatException(image, "file identifier", "it is not 'vhdxfile'; state the format that the image has");
        byte[] first = await ReadAsync(file, 64 << 10, HeaderSize).ConfigureAwait(false), second = await ReadAsync(file, 128 << 10, HeaderSize).ConfigureAwait(false);
        CheckHeaders(first, second, image);

        var regions = await ReadAsync(file, 192 << 10, TableSize).ConfigureAwait(false);
        if (!IsSound(regions, "regi"u8)) regions = await ReadAsync(file, 256 << 10, TableSize).ConfigureAwait(false);
        if (!IsSound(regions, "regi"u8)) throw new ImageFormatException(image, "region table", "signature or checksum of both copies is wrong");
        var (bat, metadata) = FindRegions(regions, file.Length, image);
        return await ReadMetadataAsync(file, image, bat, metadata).ConfigureAwait(false);
    }

    private static void CheckHeaders(byte[] first, byte[] second, string image)
    {
        bool isFirst = IsSound(first, "head"u8), isSecond = IsSound(second, "head"u8);
        if (!isFirst && !isSecond) throw new ImageFormatException(image, "header", "signature or checksum of both copies is wrong");
        var header = !isSecond || (isFirst && BinaryPrimitives.ReadUInt64LittleEndian(first.AsSpan(8)) >= BinaryPrimitives.ReadUInt64LittleEndian(second.AsSpan(8))) ? first : second;
        var version = BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(66));
        if (version != 1) throw new ImageFormatException(image, "Version", $"{version} is not served, only 1");
        if (header.AsSpan(48, 16).IndexOfAnyExcept((byte)0) >= 0) throw new ImageFormatException(image, "LogGuid", "the image was not closed, and has a log to replay: open and close it once with the program that wrote it");
    }

    private static ((long Offset, long Length) Bat, (long Offset, long Length) Metadata) FindRegions(byte[] table, long fileLength, string image)
    {
        var count = BinaryPrimitives.ReadUInt32LittleEndian(table.AsSpan(8));
        if (count > MaximumEntries) throw new ImageFormatException(image, "region table, EntryCount", $"{count} is more than {MaximumEntries}");
        (long, long)? bat = null, metadata = null;
        for (var i = 0; i < count; i++)
        {
            var entry = table.AsSpan(16 + 32 * i, 32);
            var guid = new Guid(entry[..16]);
            var offset = BinaryPrimitives.ReadUInt64LittleEndian(entry[16..]);
            long length = BinaryPrimitives.ReadUInt32LittleEndian(entry[24..]);
            var isRequired = (BinaryPrimitives.ReadUInt32LittleEndian(entry[28..]) & 1) != 0;
            if (guid != Bat && guid != Metadata)
            {
                if (isRequired) throw new ImageFormatException(image, $"region table, entry {i}", $"the region {guid} is required and not known");
                continue;
            }

            if (offset < 1 << 20 || offset % (1 << 20) != 0 || length == 0 || length % (1 << 20) != 0 || offset > (ulong)fileLength || (long)offset > fileLength - length)
            {
                throw new ImageFormatException(image, $"region table, entry {i}", $"0x{offset:x} with {length} bytes is no region of the file");
            }

            if (guid == Bat) bat = ((long)offset, length);
            else metadata = ((long)offset, length);
        }

        if (bat is null || metadata is null) throw new ImageFormatException(image, "region table", "the BAT or the metadata region is missing");
        return (bat.Value, metadata.Value);
    }

    private static async ValueTask<VhdxLayout> ReadMetadataAsync(IBlockStore file, string image, (long Offset, long Length) bat, (long Offset, long Length) region)
    {
        var table = await ReadAsync(file, region.Offset, TableSize).ConfigureAwait(false);
        if (!table.AsSpan(0, 8).SequenceEqual("metadata"u8)) throw new ImageFormatException(image, "metadata table", "its signature is wrong");
        var count = BinaryPrimitives.ReadUInt16LittleEndian(table.AsSpan(10));
        if (count > MaximumEntries) throw new ImageFormatException(image, "metadata table, EntryCount", $"{count} is more than {MaximumEntries}");
        uint? blockSize = null, sector = null;
        ulong? size = null;
        for (var i = 0; i < count; i++)
        {
            var entry = table.AsMemory(32 + 32 * i, 32);
            var guid = new Guid(entry.Span[..16]);
            uint offset = BinaryPrimitives.ReadUInt32LittleEndian(entry.Span[16..]), length = BinaryPrimitives.ReadUInt32LittleEndian(entry.Span[20..]), flags = BinaryPrimitives.ReadUInt32LittleEndian(entry.Span[24..]);
            var place = $"metadata table, entry {i}";
            if (guid == ParentLocator) throw new ImageFormatException(image, place, "the image has a parent, and files that an image names are not opened");
            var wanted = guid == FileParameters || guid == DiskSizeItem ? 8u : guid == LogicalSector ? 4u : 0;
            if (wanted == 0)
            {
                if ((flags & 4) != 0 && guid != PhysicalSector && guid != DiskId) throw new ImageFormatException(image, place, $"the item {guid} is required and not known");
                continue;
            }

            if (length < wanted || offset < TableSize || offset + (long)length > region.Length) throw new ImageFormatException(image, place, $"offset {offset} and length {length} do not fit the region");
            var item = await ReadAsync(file, region.Offset + offset, 8).ConfigureAwait(false);
            if (guid == DiskSizeItem) size = BinaryPrimitives.ReadUInt64LittleEndian(item);
            else if (guid == LogicalSector) sector = BinaryPrimitives.ReadUInt32LittleEndian(item);
            else
            {
                blockSize = BinaryPrimitives.ReadUInt32LittleEndian(item);
                if ((BinaryPrimitives.ReadUInt32LittleEndian(item.AsSpan(4)) & 2) != 0) throw new ImageFormatException(image, "FileParameters.HasParent", "the image has a parent, and files that an image names are not opened");
            }
        }

        if (blockSize is not (>= 1 << 20 and <= 256 << 20) || !BitOperations.IsPow2(blockSize.Value)) throw new ImageFormatException(image, "FileParameters.BlockSize", $"{blockSize} is not a power of two from 1 MiB to 256 MiB");
        if (sector is not (512 or 4096)) throw new ImageFormatException(image, "LogicalSectorSize", $"{sector} is not 512 or 4096");
        if (size is null or > (ulong)MaximumDisk || size % sector != 0) throw new ImageFormatException(image, "VirtualDiskSize", $"{size} is not a number of sectors up to 64 TiB");
        var ratio = (1L << 23) * sector.Value / blockSize.Value;
        var blocks = ((long)size + blockSize.Value - 1) / blockSize.Value;
        if (blocks > 0 && (blocks + (blocks - 1) / ratio) * 8 > bat.Length) throw new ImageFormatException(image, "BAT", $"{bat.Length} bytes are too few for {blocks} blocks");
        return new VhdxLayout((long)size, (int)blockSize, (int)sector, bat.Offset, ratio);
    }

    private static async ValueTask<byte[]> ReadAsync(IBlockStore file, long offset, int length)
    {
        var bytes = new byte[length];
        await file.ReadAsync(offset, bytes.AsMemory(0, (int)Math.Clamp(file.Length - offset, 0, length))).ConfigureAwait(false);
        return bytes;
    }

    /// <summary>The signature, and CRC-32C of all with the checksum's own bytes as zeros.</summary>
    private static bool IsSound(byte[] structure, ReadOnlySpan<byte> signature)
    {
        if (!structure.AsSpan(0, 4).SequenceEqual(signature)) return false;
        var crc = uint.MaxValue;
        for (var i = 0; i < structure.Length; i++) crc = BitOperations.Crc32C(crc, i is >= 4 and < 8 ? (byte)0 : structure[i]);
        return ~crc == BinaryPrimitives.ReadUInt32LittleEndian(structure.AsSpan(4));
    }
}
