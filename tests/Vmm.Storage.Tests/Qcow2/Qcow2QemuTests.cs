using Vmm.Devices.Storage;
using Vmm.Devices.Storage.Qcow2;
using Vmm.Storage.Tests.Support;

namespace Vmm.Storage.Tests.Qcow2;

/// <summary>Images that qemu-img made, and ours read by it.</summary>
public class Qcow2QemuTests
{
    private static byte[] Contents { get; } = Fill();

    [Theory]
    [InlineData("compat=1.1")]
    [InlineData("compat=0.10")]
    [InlineData("compat=1.1,cluster_size=512")]
    [InlineData("compat=1.1,cluster_size=2M")]
    [InlineData("compat=1.1,extended_l2=on,cluster_size=16k")]
    [InlineData("compat=1.1,lazy_refcounts=on,refcount_bits=64")]
    [InlineData("compat=1.1,refcount_bits=1,preallocation=metadata")]
    public async Task ImageOfQemu_IsReadAndWritten(string options)
    {
        QemuImg.Require();
        using var folder = new ScratchFolder();
        await File.WriteAllBytesAsync(folder["disk.raw"], Contents);
        QemuImg.Run("convert", "-f", "raw", "-O", "qcow2", "-o", options, folder["disk.raw"], folder["disk.qcow2"]);
        var model = (byte[])Contents.Clone();
        await using (var image = await DiskImage.OpenAsync(folder["disk.qcow2"], DiskFormat.Qcow2))
        {
            await AssertHoldsAsync(image, model);
            var random = new Random(4);
            for (var i = 0; i < 60; i++)
            {
                var piece = new byte[random.Next(1, 30000)];
                random.NextBytes(piece);
                var at = random.Next(model.Length - piece.Length);
                await image.WriteAsync(at, piece);
                piece.CopyTo(model, at);
            }
        }

        await File.WriteAllBytesAsync(folder["disk.raw"], model);
        QemuImg.Check(folder["disk.qcow2"]);
        QemuImg.Run("compare", "-f", "qcow2", "-F", "raw", folder["disk.qcow2"], folder["disk.raw"]);
    }

    [Theory]
    [InlineData("zlib", false)]
    [InlineData("zstd", false)]
    [InlineData("zlib", true)]
    [InlineData("zstd", true)]
    public async Task CompressedImage_InBothDirections_IsTheSame(string compression, bool ours)
    {
        QemuImg.Require();
        using var folder = new ScratchFolder();
        await File.WriteAllBytesAsync(folder["disk.raw"], Contents);
        if (ours)
        {
            await using var file = RawFileStore.Create(folder["disk.qcow2"], 0);
            await Qcow2Store.CreateAsync(file, Contents.Length, new Qcow2CreateOptions { Compression = compression == "zstd" ? Qcow2Compression.Zstd : Qcow2Compression.Zlib });
            await using var image = await Qcow2Store.OpenAsync(file, "disk");
            await DiskCopy.CopyAsync(new MemoryStore(Contents), image, compress: true);
            Assert.True((await image.CheckAsync()).CompressedClusters > 0);
        }
        else
        {
            QemuImg.Run("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", $"compression_type={compression}", folder["disk.raw"], folder["disk.qcow2"]);
        }

        QemuImg.Check(folder["disk.qcow2"]);
        QemuImg.Run("compare", "-f", "qcow2", "-F", "raw", folder["disk.qcow2"], folder["disk.raw"]);
        var model = (byte[])Contents.Clone();
        await using (var image = await DiskImage.OpenAsync(folder["disk.qcow2"], DiskFormat.Qcow2))
        {
            await AssertHoldsAsync(image, model);
            for (var at = 100; at + 5000 < model.Length; at += 300_000)
            {
                await image.WriteAsync(at, new byte[5000]);
                model.AsSpan(at, 5000).Clear();
            }

            await AssertHoldsAsync(image, model);
        }

        await File.WriteAllBytesAsync(folder["disk.raw"], model);
        QemuImg.Check(folder["disk.qcow2"]);
        QemuImg.Run("compare", "-f", "qcow2", "-F", "raw", folder["disk.qcow2"], folder["disk.raw"]);
    }

    [Fact]
    public async Task InternalSnapshots_AreReadAndStayWhenTheDiskIsWritten()
    {
        QemuImg.Require();
        using var folder = new ScratchFolder();
        await File.WriteAllBytesAsync(folder["disk.raw"], Contents);
        QemuImg.Run("convert", "-f", "raw", "-O", "qcow2", folder["disk.raw"], folder["disk.qcow2"]);
        QemuImg.Run("snapshot", "-c", "before", folder["disk.qcow2"]);
        await using (var image = await DiskImage.OpenAsync(folder["disk.qcow2"], DiskFormat.Qcow2))
        {
            Assert.Equal("before", Assert.Single(((Qcow2Store)image).Snapshots).Name);
            await image.WriteAsync(70_000, new byte[500_000]);
            await image.DiscardAsync(1 << 20, 1 << 20);
        }

        QemuImg.Check(folder["disk.qcow2"]);
        await using (var snapshot = await DiskImage.OpenAsync(folder["disk.qcow2"], DiskFormat.Qcow2, new DiskOptions { Snapshot = "before" }))
        {
            Assert.True(snapshot.IsReadOnly);
            await AssertHoldsAsync(snapshot, Contents);
        }

        QemuImg.Run("snapshot", "-d", "before", folder["disk.qcow2"]);
        QemuImg.Check(folder["disk.qcow2"]);
    }

    [Fact]
    public async Task Leaks_AreFoundAndMended()
    {
        QemuImg.Require();
        using var folder = new ScratchFolder();
        await using (var file = RawFileStore.Create(folder["disk.qcow2"], 0))
        {
            await Qcow2Store.CreateAsync(file, 10 << 20);
            await using var image = await Qcow2Store.OpenAsync(file, "disk");
            await image.WriteAsync(0, Contents);
        }

        // The first L2 table is forgotten: all it pointed to is leaked.
        using (var file = new FileStream(folder["disk.qcow2"], FileMode.Open))
        {
            file.Position = 3 << 16;
            file.Write(new byte[8]);
        }

        Assert.Equal(3, QemuImg.Try("check", "-f", "qcow2", folder["disk.qcow2"]).Code);
        await using (var image = await Qcow2Store.OpenForCheckAsync(RawFileStore.Open(folder["disk.qcow2"]), "disk", isWritable: true))
        {
            var found = await image.CheckAsync(Qcow2Repair.Leaks);
            Assert.Equal(0, found.Corruptions);
            Assert.True(found.Leaks > 50);
            Assert.Equal(found.Leaks, found.Mended);
        }

        QemuImg.Check(folder["disk.qcow2"]);
    }

    [Fact]
    public async Task DirtyImageOfQemu_IsCountedAnewWhenItIsOpened()
    {
        QemuImg.Require();
        using var folder = new ScratchFolder();
        await File.WriteAllBytesAsync(folder["disk.raw"], Contents);
        QemuImg.Run("convert", "-f", "raw", "-O", "qcow2", "-o", "lazy_refcounts=on", folder["disk.raw"], folder["disk.qcow2"]);
        using (var file = new FileStream(folder["disk.qcow2"], FileMode.Open))
        {
            // Dirty, and the refcount block full of zeros but for its first four.
            file.Position = 79;
            file.WriteByte(1);
            file.Position = (2 << 16) + 8;
            file.Write(new byte[2000]);
        }

        await using (var image = await DiskImage.OpenAsync(folder["disk.qcow2"], DiskFormat.Qcow2)) await AssertHoldsAsync(image, Contents);
        QemuImg.Check(folder["disk.qcow2"]);
    }

    [Fact]
    public async Task Resize_GrowsAndShrinks_AsQemuSeesIt()
    {
        QemuImg.Require();
        using var folder = new ScratchFolder();
        await File.WriteAllBytesAsync(folder["disk.raw"], Contents);
        QemuImg.Run("convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4k", folder["disk.raw"], folder["disk.qcow2"]);
        await using (var image = await DiskImage.OpenAsync(folder["disk.qcow2"], DiskFormat.Qcow2))
        {
            await image.ResizeAsync(1L << 31);
            await image.WriteAsync((1L << 31) - 4096, Contents.AsMemory(0, 4096));
        }

        QemuImg.Check(folder["disk.qcow2"]);
        Assert.Contains("\"virtual-size\": 2147483648", QemuImg.Run("info", "--output=json", "-f", "qcow2", folder["disk.qcow2"]));
        await using (var image = await DiskImage.OpenAsync(folder["disk.qcow2"], DiskFormat.Qcow2)) await image.ResizeAsync(Contents.Length);
        QemuImg.Check(folder["disk.qcow2"]);
        QemuImg.Run("compare", "-f", "qcow2", "-F", "raw", folder["disk.qcow2"], folder["disk.raw"]);
    }

    private static async Task AssertHoldsAsync(IBlockStore store, byte[] contents)
    {
        Assert.Equal(contents.Length, store.Length);
        var read = new byte[contents.Length];
        await store.ReadAsync(0, read);
        Assert.Equal(contents.Length, contents.AsSpan().CommonPrefixLength(read));
    }

    private static byte[] Fill()
    {
        var bytes = new byte[4 << 20];
        var random = new Random(3);
        random.NextBytes(bytes.AsSpan(0, 1 << 20));
        for (var at = 2 << 20; at < 3 << 20; at++) bytes[at] = (byte)(at / 777);
        return bytes;
    }
}
