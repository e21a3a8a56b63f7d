using Vmm.Devices.Storage;
using Vmm.Devices.Storage.Qcow2;
using Vmm.Storage.Tests.Support;

namespace Vmm.Storage.Tests.Qcow2;

/// <summary>Backing files: case 53 of the list of known attacks (CVE-2024-4467 and others).</summary>
public class BackingTests : IDisposable
{
    private readonly ScratchFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task BackingFile_ByDefault_IsRefused()
    {
        await MakeAsync("base.qcow2", null, null);
        await MakeAsync("disk.qcow2", "base.qcow2", "qcow2");
        await RefusedAsync(new DiskOptions());
    }

    [Fact]
    public async Task BackingFile_InTheAllowedFolder_IsRead()
    {
        await using (var image = await DiskImage.OpenAsync(await MakeAsync("base.qcow2", null, null), DiskFormat.Qcow2)) await image.WriteAsync(0, new byte[] { 1, 2, 3 });
        await MakeAsync("disk.qcow2", "base.qcow2", "qcow2");
        await using var disk = await DiskImage.OpenAsync(_folder["disk.qcow2"], DiskFormat.Qcow2, new DiskOptions { BackingFolder = _folder.FullName });
        var read = new byte[3];
        await disk.ReadAsync(0, read);
        Assert.Equal([1, 2, 3], read);
    }

    [Theory]
    [InlineData("/etc/passwd", "raw")]
    [InlineData("../x.raw", "raw")]
    [InlineData("json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}", "raw")]
    [InlineData("nbd://host/x", "raw")]
    [InlineData("\\\\host\\share\\x", "raw")]
    [InlineData("//host/share/x", "raw")]
    [InlineData("link.raw", "raw")]
    public async Task BackingFile_OutsideTheFolder_IsRefused(string name, string format)
    {
        if (!OperatingSystem.IsWindows()) File.CreateSymbolicLink(_folder["link.raw"], "/etc/passwd");
        await MakeAsync("disk.qcow2", name, format);
        await RefusedAsync(new DiskOptions { BackingFolder = _folder.FullName });
    }

    [Fact]
    public async Task BackingFile_WithoutARecordedFormat_IsRefused()
    {
        QemuImg.Require();
        await File.WriteAllBytesAsync(_folder["base.raw"], new byte[1 << 20]);
        await MakeAsync("disk.qcow2", "base.raw", "raw");
        var bytes = await File.ReadAllBytesAsync(_folder["disk.qcow2"]);
        bytes.AsSpan(112, 4).Fill(0x11); // the extension that says so becomes an unknown one
        await File.WriteAllBytesAsync(_folder["disk.qcow2"], bytes);
        await RefusedAsync(new DiskOptions { BackingFolder = _folder.FullName });
    }

    [Fact]
    public async Task BackingChain_ToItself_IsRefused()
    {
        await MakeAsync("disk.qcow2", "disk.qcow2", "qcow2");
        await using var unused = new MemoryStore(0);
        await Assert.ThrowsAnyAsync<Exception>(async () => await DiskImage.OpenAsync(_folder["disk.qcow2"], DiskFormat.Qcow2, new DiskOptions { BackingFolder = _folder.FullName }));
        await RefusedAsync(new DiskOptions { ReadOnly = true, BackingFolder = _folder.FullName });
    }

    [Fact]
    public async Task BackingChain_LongerThanAllowed_IsRefused()
    {
        await MakeAsync("40.qcow2", null, null);
        for (var i = 39; i > 0; i--) await MakeAsync($"{i}.qcow2", $"{i + 1}.qcow2", "qcow2");
        await MakeAsync("disk.qcow2", "1.qcow2", "qcow2");
        await RefusedAsync(new DiskOptions { BackingFolder = _folder.FullName });
    }

    [Fact]
    public async Task ExternalDataFile_IsRefused()
    {
        QemuImg.Require();
        QemuImg.Run("create", "-f", "qcow2", "-o", $"data_file={_folder["data"]}", _folder["disk.qcow2"], "1M");
        var error = await Assert.ThrowsAsync<ImageFormatException>(async () => await DiskImage.OpenAsync(_folder["disk.qcow2"], DiskFormat.Qcow2));
        Assert.Equal("incompatible_features", error.Place);
    }

    private async Task<string> MakeAsync(string name, string? backing, string? format)
    {
        await using var file = RawFileStore.Create(_folder[name], 0);
        await Qcow2Store.CreateAsync(file, 1 << 20, new Qcow2CreateOptions { ClusterSize = 4096, BackingFile = backing, BackingFormat = format });
        return _folder[name];
    }

    private async Task RefusedAsync(DiskOptions options)
    {
        var error = await Assert.ThrowsAsync<ImageFormatException>(async () => await DiskImage.OpenAsync(_folder["disk.qcow2"], DiskFormat.Qcow2, options));
        Assert.Equal("backing_file_offset", error.Place);
    }
}
