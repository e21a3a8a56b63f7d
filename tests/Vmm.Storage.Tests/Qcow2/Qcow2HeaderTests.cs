using System.Buffers.Binary;
using Vmm.Devices.Storage;
using Vmm.Devices.Storage.Qcow2;

namespace Vmm.Storage.Tests.Qcow2;

/// <summary>Malformed headers and tables: cases 51 and 52 of the list of known attacks (CVE-2014-0143 to 0147 and others).</summary>
public class Qcow2HeaderTests
{
    [Theory]
    [InlineData(0, 4, 0x51464900, "magic")]
    [InlineData(4, 4, 1, "version")]
    [InlineData(4, 4, 4, "version")]
    [InlineData(20, 4, 0, "cluster_bits")]
    [InlineData(20, 4, 8, "cluster_bits")]
    [InlineData(20, 4, 63, "cluster_bits")]
    [InlineData(32, 4, 1, "crypt_method")]
    [InlineData(36, 4, 0x80000000, "l1_size")]
    [InlineData(36, 4, 0, "l1_size")]
    [InlineData(40, 8, 0x3001, "l1_table_offset")]
    [InlineData(40, 8, 0x7FFFFFFFFFFFF000, "l1_table_offset")]
    [InlineData(40, 8, 0, "l1_table_offset")]
    [InlineData(48, 8, 0, "refcount_table_offset")]
    [InlineData(48, 8, 0x100000000, "refcount_table_offset")]
    [InlineData(56, 4, 0, "refcount_table_clusters")]
    [InlineData(56, 4, 0xFFFFFFFF, "refcount_table_clusters")]
    [InlineData(60, 4, 0xFFFFFFFF, "nb_snapshots")]
    [InlineData(24, 8, -1, "size")]
    [InlineData(24, 8, 0x7FFFFFFFFFFFFFFF, "size")]
    [InlineData(8, 8, 0x2000, "backing_file_size")]
    [InlineData(72, 8, 0x100, "incompatible_features")]
    [InlineData(72, 8, 4, "incompatible_features")]
    [InlineData(72, 8, 2, "incompatible_features")]
    [InlineData(72, 8, 8, "compression_type")]
    [InlineData(72, 8, 16, "cluster_bits")]
    [InlineData(96, 4, 7, "refcount_order")]
    [InlineData(100, 4, 72, "header_length")]
    [InlineData(100, 4, 0xFFFFFFF8, "header_length")]
    [InlineData(100, 4, 105, "header_length")]
    [InlineData(104, 1, 2, "compression_type")]
    public async Task Header_Malformed_IsRefusedByField(int at, int size, long value, string place)
    {
        var bytes = await MakeAsync();
        Put(bytes, at, size, value);
        var error = await Assert.ThrowsAsync<ImageFormatException>(async () => await Qcow2Store.OpenAsync(new MemoryStore(bytes), "disk"));
        Assert.Equal(place, error.Place);
    }

    [Fact]
    public async Task HeaderExtension_LongerThanTheCluster_IsRefused()
    {
        var bytes = await MakeAsync();
        Put(bytes, 112, 4, 0x12345678);
        Put(bytes, 116, 4, 0xFFFFFFF0);
        var error = await Assert.ThrowsAsync<ImageFormatException>(async () => await Qcow2Store.OpenAsync(new MemoryStore(bytes), "disk"));
        Assert.Contains("extension", error.Place);
    }

    [Theory]
    [InlineData(0x0000)]
    [InlineData(0x1000)]
    [InlineData(0x2000)]
    [InlineData(0x3000)]
    [InlineData(0x4000)]
    [InlineData(0x5200)]
    [InlineData(0x10000000)]
    public async Task L2Entry_ThatPointsToTablesOrNowhere_IsNoPlaceToWrite(long target)
    {
        var bytes = await MakeAsync(written: true);
        Put(bytes, 0x4000, 8, unchecked((long)0x8000000000000000) | target);
        await using var image = await Qcow2Store.OpenAsync(new MemoryStore(bytes), "disk");
        if (target == 0)
        {
            await image.WriteAsync(0, new byte[4096]); // an entry without a cluster: one is allocated
            return;
        }

        var error = await Assert.ThrowsAsync<ImageFormatException>(async () => await image.WriteAsync(0, new byte[4096]));
        Assert.Equal("L2 table 0, entry 0", error.Place);
        await Assert.ThrowsAsync<ImageFormatException>(async () => await image.ReadAsync(0, new byte[4096]));
    }

    [Theory]
    [InlineData(0x1000)]
    [InlineData(0x2000)]
    [InlineData(0x3000)]
    [InlineData(0x4200)]
    [InlineData(0x10000000)]
    public async Task L1Entry_ThatPointsToTablesOrNowhere_IsRefused(long target)
    {
        var bytes = await MakeAsync(written: true);
        Put(bytes, 0x3000, 8, unchecked((long)0x8000000000000000) | target);
        var error = await Assert.ThrowsAsync<ImageFormatException>(async () => await Qcow2Store.OpenAsync(new MemoryStore(bytes), "disk"));
        Assert.Equal("L1 table, entry 0", error.Place);
    }

    [Fact]
    public async Task CompressedCluster_PastTheEndOrDamaged_IsRefused()
    {
        var bytes = await MakeAsync(written: true);
        Put(bytes, 0x4000, 8, 0x4000000010000000);
        Put(bytes, 0x4008, 8, 0x4000000000005000);
        await using var image = await Qcow2Store.OpenAsync(new MemoryStore(bytes), "disk");
        Assert.Equal("L2 table 0, entry 0", (await Assert.ThrowsAsync<ImageFormatException>(async () => await image.ReadAsync(0, new byte[1]))).Place);
        Assert.Equal("L2 table 0, entry 1", (await Assert.ThrowsAsync<ImageFormatException>(async () => await image.ReadAsync(4096, new byte[1]))).Place);
    }

    [Fact]
    public async Task RefcountOfATable_ThatIsZero_IsFoundBeforeItIsGivenAway()
    {
        var bytes = await MakeAsync(written: true);
        Put(bytes, 0x2000 + 2 * 3, 2, 0); // L1's cluster
        await using var image = await Qcow2Store.OpenAsync(new MemoryStore(bytes), "disk");
        var error = await Assert.ThrowsAsync<ImageFormatException>(async () => await image.WriteAsync(1 << 20, new byte[4096]));
        Assert.Contains("refcount", error.Place);
    }

    private static void Put(byte[] bytes, int at, int size, long value)
    {
        Span<byte> number = stackalloc byte[8];
        BinaryPrimitives.WriteInt64BigEndian(number, value);
        number[(8 - size)..].CopyTo(bytes.AsSpan(at));
    }

    /// <summary>Header at 0, refcount table at 0x1000, block at 0x2000, L1 at 0x3000; written: L2 at 0x4000 or after, data behind.</summary>
    private static async Task<byte[]> MakeAsync(bool written = false)
    {
        var file = new MemoryStore(0);
        await Qcow2Store.CreateAsync(file, 8 << 20, new Qcow2CreateOptions { ClusterSize = 4096 });
        if (written)
        {
            // Disposing the image would dispose the store: the flush is enough.
            var image = await Qcow2Store.OpenAsync(file, "disk");
            await image.WriteAsync(0, Enumerable.Repeat((byte)5, 8192).ToArray());
            await image.FlushAsync();
        }

        var bytes = new byte[file.Length];
        await file.ReadAsync(0, bytes);
        return bytes;
    }
}
