// VMware "Virtual Disk Format 5.0", "Hosted Sparse Extent Header".
using System.Buffers.Binary;
using System.Numerics;

namespace Vmm.Devices.Storage.Vmdk;

/// <summary>The header of a sparse extent, checked. Offsets are in bytes.</summary>
internal sealed record VmdkHeader(long Capacity, int GrainSize, int TableEntries, long DirectoryOffset, long DescriptorOffset, int DescriptorLength, bool IsCompressed, bool HasZeroGrains)
{
    public const int Length = 512;
    public const uint Magic = 0x564D444B;
    private const ulong DirectoryAtEnd = ulong.MaxValue;
    private const int MaximumGrain = 4 << 20, MaximumTableEntries = 1 << 16, MaximumDescriptor = 1 << 20;
    private const long MaximumCapacity = 1L << 50;

    public static async ValueTask<VmdkHeader> ReadAsync(IBlockStore file, string image)
    {
        var bytes = new byte[Length];
        await file.ReadAsync(0, bytes).ConfigureAwait(false);
        if (BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(56)) == DirectoryAtEnd)
        {
            // Written as a stream: the footer, a copy of the header that knows, is before the last sector.
            if (file.Length < 3 * Length) throw new ImageFormatException(image, "footer", "the file is too short to have one");
            await file.ReadAsync(file.Length / 512 * 512 - 1024, bytes).ConfigureAwait(false);
        }

        return Parse(bytes, file.Length, image);
    }

    private static VmdkHeader Parse(byte[] bytes, long fileLength, string image)
    {
        ImageFormatException Wrong(string field, string reason) => new(image, field, reason);
        ulong U64(int at) => BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(at));
        uint U32(int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at));
        if (U32(0) != Magic) throw Wrong("magicNumber", $"0x{U32(0):x8} is not VMDK's; state the format that the image has");
        if (U32(4) is < 1 or > 3) throw Wrong("version", $"{U32(4)} is not served, only 1 to 3");
        ulong capacity = U64(12), grain = U64(20), descriptor = U64(28), descriptorSize = U64(36), directory = U64(56);
        var flags = U32(8);
        if (grain is < 8 or > MaximumGrain / 512 || !BitOperations.IsPow2(grain)) throw Wrong("grainSize", $"{grain} sectors is not a power of two from 8 to {MaximumGrain / 512}");
        if (capacity > (ulong)MaximumCapacity / 512) throw Wrong("capacity", $"{capacity} sectors are more than 1 PiB");
        if (U32(44) is 0 or > MaximumTableEntries) throw Wrong("numGTEsPerGT", $"{U32(44)} is not from 1 to {MaximumTableEntries}");
        var compression = BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(77));
        var isCompressed = (flags & 1 << 16) != 0;
        if (compression > 1 || (isCompressed && compression != 1)) throw Wrong("compressAlgorithm", $"{compression} is not served, only 1 (deflate)");
        var tables = ((capacity + grain - 1) / grain + U32(44) - 1) / U32(44);
        if (directory > (ulong)fileLength / 512 || directory * 512 + tables * 4 > (ulong)fileLength || (directory == 0 && tables > 0)) throw Wrong("gdOffset", $"the grain directory of {tables} entries at sector {directory} is past the file's end");
        if (descriptor > (ulong)fileLength / 512 || descriptorSize > MaximumDescriptor / 512 || (descriptor + descriptorSize) * 512 > (ulong)fileLength) throw Wrong("descriptorOffset", $"the descriptor of {descriptorSize} sectors at {descriptor} is past the file's end");
        return new VmdkHeader((long)capacity * 512, (int)grain * 512, (int)U32(44), (long)directory * 512, (long)descriptor * 512, (int)descriptorSize * 512, isCompressed, (flags & 4) != 0);
    }
}
