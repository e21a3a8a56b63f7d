using Vmm.Devices.Storage;
using Vmm.Storage.Tests.Support;

namespace Vmm.Storage.Tests.Formats;

/// <summary>VHDX and VMDK images that qemu-img made.</summary>
public class ReadOnlyFormatTests
{
    [Theory]
    [InlineData(DiskFormat.Vhdx, "vhdx", "subformat=dynamic")]
    [InlineData(DiskFormat.Vhdx, "vhdx", "subformat=fixed")]
    [InlineData(DiskFormat.Vhdx, "vhdx", "subformat=dynamic,block_size=1M")]
    [InlineData(DiskFormat.Vmdk, "vmdk", "subformat=monolithicSparse")]
    [InlineData(DiskFormat.Vmdk, "vmdk", "subformat=monolithicFlat")]
    [InlineData(DiskFormat.Vmdk, "vmdk", "subformat=streamOptimized")]
    public async Task ImageOfQemu_IsRead(DiskFormat format, string name, string options)
    {
        QemuImg.Require();
        using var folder = new ScratchFolder();
        var contents = new byte[5 << 20];
        new Random(1).NextBytes(contents.AsSpan(100_000, 1 << 20));
        new Random(2).NextBytes(contents.AsSpan(4 << 20, 70_000));
        await File.WriteAllBytesAsync(folder["disk.raw"], contents);
        QemuImg.Run("convert", "-f", "raw", "-O", name, "-o", options, folder["disk.raw"], folder["disk." + name]);
        await using var image = await DiskImage.OpenAsync(folder["disk." + name], format);
        Assert.True(image.IsReadOnly);
        var copy = new MemoryStore(image.Length);
        await DiskCopy.CopyAsync(image, copy);
        var read = new byte[contents.Length];
        await copy.ReadAsync(0, read);
        Assert.Equal(contents.Length, contents.AsSpan().CommonPrefixLength(read));
        var piece = new byte[300_000];
        await image.ReadAsync(99_999, piece);
        Assert.Equal(contents[99_999..399_999], piece);
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await image.WriteAsync(0, piece));
    }

    [Fact]
    public async Task FlatVmdk_ThatNamesAnotherFile_IsRefused()
    {
        using var folder = new ScratchFolder();
        foreach (var name in (string[])["/etc/passwd", "../disk-flat.vmdk", "other.vmdk"])
        {
            await File.WriteAllTextAsync(folder["disk.vmdk"], $"# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 1 FLAT \"{name}\" 0\n");
            var error = await Assert.ThrowsAsync<ImageFormatException>(async () => await DiskImage.OpenAsync(folder["disk.vmdk"], DiskFormat.Vmdk));
            Assert.Equal("extent", error.Place);
        }
    }

    [Theory]
    [InlineData(DiskFormat.Qcow2)]
    [InlineData(DiskFormat.Vhdx)]
    [InlineData(DiskFormat.Vmdk)]
    public async Task ImageOfAnotherFormat_IsRefused(DiskFormat format)
    {
        using var folder = new ScratchFolder();
        await File.WriteAllBytesAsync(folder["disk"], new byte[2 << 20]);
        await Assert.ThrowsAsync<ImageFormatException>(async () => await DiskImage.OpenAsync(folder["disk"], format));
        await File.WriteAllBytesAsync(folder["disk"], new byte[10]);
        await Assert.ThrowsAsync<ImageFormatException>(async () => await DiskImage.OpenAsync(folder["disk"], format));
    }
}
