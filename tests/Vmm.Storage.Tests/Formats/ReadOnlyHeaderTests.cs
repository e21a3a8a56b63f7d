using System.Buffers.Binary;
using System.Text;
using Vmm.Devices.Storage;
using Vmm.Devices.Storage.Vhdx;
using Vmm.Devices.Storage.Vmdk;
using Vmm.Storage.Tests.Support;

namespace Vmm.Storage.Tests.Formats;

/// <summary>Malformed VHDX and VMDK images: case 54 of the list of known attacks (CVE-2014-0148, CVE-2014-0222, CVE-2014-0223 and others).</summary>
public class ReadOnlyHeaderTests
{
    private const int MetadataAt = 3 << 20, TableAt = 2 << 20, ItemsAt = 64 << 10;
    private static readonly Guid FileParameters = new("CAA16737-FA36-4D43-B3B6-33F0AA44E76B"), DiskSize = new("2FA54224-CD1B-4876-B211-5DBED83BF4B8"), SectorSize = new("8141BF1D-A96F-4709-BA47-F233A8FAAB5F");
    private static readonly byte[] MetadataSignature = "metadata"u8.ToArray();

    [Theory]
    [InlineData(0, 1, 0, "file identifier")]
    [InlineData(MetadataAt, 1, 0, "metadata table")]
    [InlineData(MetadataAt + 10, 2, 0xFFFF, "metadata table, EntryCount")]
    [InlineData(MetadataAt + 10, 2, 0, "FileParameters.BlockSize")]
    [InlineData(MetadataAt + 32 + 16, 4, 0, "metadata table, entry 0")]
    [InlineData(MetadataAt + 32 + 16, 4, 0xFFFFFFFF, "metadata table, entry 0")]
    [InlineData(MetadataAt + 32 + 20, 4, 0, "metadata table, entry 0")]
    [InlineData(MetadataAt + 32 + 20, 4, 0xFFFFFFFF, "metadata table, entry 0")]
    public async Task Case54_Vhdx_Header_IsRefusedByField(int at, int size, long value, string place)
    {
        var bytes = Vhdx();
        Put(bytes, at, size, value);
        await RefusesVhdxAsync(bytes, place);
    }

    [Fact]
    public async Task Case54_Vhdx_BothCopiesOfAStructureBroken_AreRefused()
    {
        foreach (var (first, second, place) in ((int, int, string)[])[(64 << 10, 128 << 10, "header"), (192 << 10, 256 << 10, "region table")])
        {
            var bytes = Vhdx();
            bytes[first + 20] ^= 1;
            bytes[second + 20] ^= 1;
            await RefusesVhdxAsync(bytes, place);
        }
    }

    [Fact]
    public async Task Case54_Vhdx_Items_OfImpossibleValue_AreRefusedByName()
    {
        foreach (var (item, at, size, value, place) in ((Guid, int, int, long, string)[])
            [
                (FileParameters, 0, 4, 0, "FileParameters.BlockSize"), (FileParameters, 0, 4, 3 << 20, "FileParameters.BlockSize"), (FileParameters, 0, 4, 0x8000_0000, "FileParameters.BlockSize"),
                (FileParameters, 4, 4, 2, "FileParameters.HasParent"), (SectorSize, 0, 4, 0, "LogicalSectorSize"), (SectorSize, 0, 4, 1, "LogicalSectorSize"), (DiskSize, 0, 8, -1, "VirtualDiskSize"),
                (DiskSize, 0, 8, 513, "VirtualDiskSize"), (DiskSize, 0, 8, 1L << 46, "BAT"),
            ])
        {
            var bytes = Vhdx();
            Put(bytes, ItemAt(bytes, item) + at, size, value);
            await RefusesVhdxAsync(bytes, place);
        }
    }

    [Theory]
    [InlineData(0UL << 20 | 6)] // a block in the header section
    [InlineData(0xFFFF_FFFFUL << 20 | 6)]
    [InlineData(0xFFF_FFFF_FFFFUL << 20 | 6)]
    [InlineData(4UL << 20 | 7)] // present in part: of a parent
    [InlineData(4UL << 20 | 4)] // no such state
    public async Task Case54_Vhdx_BlockTableEntry_ThatLeadsNowhere_IsRefusedWhenRead(ulong entry)
    {
        var bytes = Vhdx();
        Put(bytes, TableAt, 8, (long)entry);
        await using var image = await VhdxStore.OpenAsync(new MemoryStore(bytes, isReadOnly: true), "disk");
        var error = await Assert.ThrowsAsync<ImageFormatException>(async () => await image.ReadAsync(0, new byte[512]));
        Assert.Equal("BAT entry 0", error.Place);
    }

    [Theory]
    [InlineData(0, 4, 0, "magicNumber")]
    [InlineData(4, 4, 0, "version")]
    [InlineData(4, 4, 4, "version")]
    [InlineData(12, 8, -1, "capacity")]
    [InlineData(20, 8, 0, "grainSize")]
    [InlineData(20, 8, 7, "grainSize")]
    [InlineData(20, 8, 129, "grainSize")]
    [InlineData(20, 8, -1, "grainSize")]
    [InlineData(28, 8, -1, "descriptorOffset")]
    [InlineData(28, 8, 0x7FFFFFFF, "descriptorOffset")]
    [InlineData(36, 8, -1, "descriptorOffset")]
    [InlineData(44, 4, 0, "numGTEsPerGT")]
    [InlineData(44, 4, 0xFFFFFFFF, "numGTEsPerGT")]
    [InlineData(56, 8, 0, "gdOffset")]
    [InlineData(56, 8, 0x7FFFFFFFFFFFFFFF, "gdOffset")]
    [InlineData(56, 8, 0x100000, "gdOffset")]
    [InlineData(77, 2, 2, "compressAlgorithm")]
    public async Task Case54_Vmdk_Header_IsRefusedByField(int at, int size, long value, string place)
    {
        var bytes = Vmdk("monolithicSparse");
        Put(bytes, at, size, value);
        await RefusesVmdkAsync(bytes, place);
    }

    [Fact]
    public async Task Case54_Vmdk_DirectoryAtTheEndWithoutAFooter_IsRefused()
    {
        var bytes = Vmdk("monolithicSparse");
        Put(bytes, 56, 8, -1);
        await RefusesVmdkAsync(bytes, "magicNumber");
        await RefusesVmdkAsync(bytes[..1024], "footer");
    }

    [Theory]
    [InlineData("createType=\"monolithicSparse\"", "createType=\"vmfs\"            ", "createType")]
    [InlineData("parentCID=ffffffff", "parentCID=12345678", "parentCID")]
    public async Task Case54_Vmdk_Descriptor_ThatAsksForMore_IsRefused(string was, string becomes, string place)
    {
        var bytes = Vmdk("monolithicSparse");
        var at = bytes.AsSpan().IndexOf(Encoding.ASCII.GetBytes(was));
        Assert.True(at > 0 && was.Length <= becomes.Length + 1);
        Encoding.ASCII.GetBytes(becomes).AsSpan(0, was.Length).CopyTo(bytes.AsSpan(at));
        await RefusesVmdkAsync(bytes, place);
    }

    [Theory]
    [InlineData(true, 0x7FFFFFFFL, "grain table 0, entry 0")]
    [InlineData(true, 0xFFFFFFFFL, "grain table 0, entry 0")]
    [InlineData(false, 0xFFFFFFFFL, "grain table 0, entry 0")]
    public async Task Case54_Vmdk_TableEntry_PastTheEnd_IsRefusedWhenRead(bool directory, long entry, string place)
    {
        var bytes = Vmdk("monolithicSparse");
        var at = (int)BinaryPrimitives.ReadInt64LittleEndian(bytes.AsSpan(56)) * 512;
        if (!directory) at = (int)BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at)) * 512;
        Put(bytes, at, 4, entry);
        await using var image = await VmdkStore.OpenAsync(new MemoryStore(bytes, isReadOnly: true), "disk");
        var error = await Assert.ThrowsAsync<ImageFormatException>(async () => await image.ReadAsync(0, new byte[512]));
        Assert.Equal(place, error.Place);
    }

    [Theory]
    [InlineData(8, 4, 0xFFFFFFFFL, "grain 0, size")]
    [InlineData(8, 4, 3L, "grain 0")]
    [InlineData(12, 4, 0L, "grain 0")]
    public async Task Case54_Vmdk_CompressedGrain_ThatIsNone_IsRefusedWhenRead(int at, int size, long value, string place)
    {
        var bytes = Vmdk("streamOptimized");
        var footer = bytes.Length / 512 * 512 - 1024;
        var directory = (int)BinaryPrimitives.ReadInt64LittleEndian(bytes.AsSpan(footer + 56)) * 512;
        if (directory <= 0) directory = (int)BinaryPrimitives.ReadInt64LittleEndian(bytes.AsSpan(56)) * 512;
        var table = (int)BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(directory)) * 512;
        var grain = (int)BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(table)) * 512;
        Put(bytes, grain + at, size, value);
        await using var image = await VmdkStore.OpenAsync(new MemoryStore(bytes, isReadOnly: true), "disk");
        var error = await Assert.ThrowsAsync<ImageFormatException>(async () => await image.ReadAsync(0, new byte[512]));
        Assert.Equal(place, error.Place);
    }

    private static byte[] Vhdx() => Make("vhdx", "subformat=dynamic,block_size=1M");

    private static byte[] Vmdk(string subformat) => Make("vmdk", "subformat=" + subformat);

    private static byte[] Make(string format, string options)
    {
        QemuImg.Require();
        using var folder = new ScratchFolder();
        var contents = new byte[3 << 20];
        new Random(1).NextBytes(contents.AsSpan(0, 200_000));
        File.WriteAllBytes(folder["disk.raw"], contents);
        QemuImg.Run("convert", "-f", "raw", "-O", format, "-o", options, folder["disk.raw"], folder["disk"]);
        var bytes = File.ReadAllBytes(folder["disk"]);
        if (format == "vhdx") Assert.True(bytes.AsSpan(MetadataAt, 8).SequenceEqual(MetadataSignature), "qemu-img puts the metadata elsewhere.");
        return bytes;
    }

    private static int ItemAt(byte[] bytes, Guid item)
    {
        var entry = bytes.AsSpan(MetadataAt, ItemsAt).IndexOf(item.ToByteArray());
        return MetadataAt + BinaryPrimitives.ReadInt32LittleEndian(bytes.AsSpan(MetadataAt + entry + 16));
    }

    private static void Put(byte[] bytes, int at, int size, long value)
    {
        for (var i = 0; i < size; i++) bytes[at + i] = (byte)(value >> (8 * i));
    }

    private static async Task RefusesVhdxAsync(byte[] bytes, string place)
    {
        var error = await Assert.ThrowsAsync<ImageFormatException>(async () => await VhdxStore.OpenAsync(new MemoryStore(bytes, isReadOnly: true), "disk"));
        Assert.Equal(place, error.Place);
    }

    private static async Task RefusesVmdkAsync(byte[] bytes, string place)
    {
        var error = await Assert.ThrowsAsync<ImageFormatException>(async () => await VmdkStore.OpenAsync(new MemoryStore(bytes, isReadOnly: true), "disk"));
        Assert.Equal(place, error.Place);
    }
}
