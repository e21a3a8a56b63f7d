using Vmm.Cli.Commands;
using Vmm.Cli.Tests.Support;
using Vmm.Devices.Storage;

namespace Vmm.Cli.Tests.Commands;

/// <summary><c>vmm image</c>, and what <c>--disk</c> takes.</summary>
public class ImageTests
{
    [Fact]
    public async Task Image_MadeDescribedCheckedConvertedResized()
    {
        using var cli = new CliRun();
        var (qcow, raw, packed) = (cli.PathOf("a.qcow2"), cli.PathOf("a.raw"), cli.PathOf("b.qcow2"));
        Assert.Equal(0, await cli.RunAsync("image", "create", qcow, "16M", "--format", "qcow2", "--compression", "zstd", "--cluster-size", "4K"));
        await using (var image = await DiskImage.OpenAsync(qcow, DiskFormat.Qcow2)) await image.WriteAsync(1 << 20, Enumerable.Repeat((byte)7, 100_000).ToArray());
        Assert.Equal(0, await cli.RunAsync("image", "info", qcow, "--format", "qcow2"));
        Assert.Matches(@"disk size: +16777216 bytes \(16 MiB\)", cli.Text);
        Assert.Matches(@"compression: +zstd", cli.Text);
        Assert.Equal(0, await cli.RunAsync("image", "check", qcow, "--format", "qcow2"));
        Assert.Contains("0 errors, 0 leaked clusters, 0 mended; 25 of 4096 clusters allocated", cli.Text);
        Assert.Equal(0, await cli.RunAsync("image", "convert", qcow, raw, "--from", "qcow2", "--to", "raw"));
        Assert.Equal(100_000, (await File.ReadAllBytesAsync(raw)).Count(b => b == 7));
        Assert.Equal(0, await cli.RunAsync("image", "convert", raw, packed, "--from", "raw", "--to", "qcow2", "--compress"));
        Assert.True(new FileInfo(packed).Length < 500_000);
        Assert.Equal(0, await cli.RunAsync("image", "resize", packed, "+16M", "--format", "qcow2"));
        await using (var image = await DiskImage.OpenAsync(packed, DiskFormat.Qcow2)) Assert.Equal(32 << 20, image.Length);
        Assert.Empty(cli.Error);
    }

    [Fact]
    public async Task Resize_ThatWouldLoseData_NeedsShrink()
    {
        using var cli = new CliRun();
        var raw = cli.File("a.raw", new byte[1 << 20]);
        Assert.Equal(ExitCode.BadArguments, await cli.RunAsync("image", "resize", raw, "512K", "--format", "raw"));
        Assert.Contains("--shrink", cli.Error);
        Assert.Equal(0, await cli.RunAsync("image", "resize", raw, "512K", "--format", "raw", "--shrink"));
        Assert.Equal(512 << 10, new FileInfo(raw).Length);
    }

    [Fact]
    public async Task Format_NotStated_IsAskedFor()
    {
        using var cli = new CliRun();
        Assert.Equal(ExitCode.BadArguments, await cli.RunAsync("image", "info", cli.File("a", new byte[512])));
        Assert.Contains("--format", cli.Error);
    }

    [Fact]
    public async Task Create_OverAFile_NeedsForce()
    {
        using var cli = new CliRun();
        var file = cli.File("a", [1, 2, 3]);
        Assert.Equal(ExitCode.BadImage, await cli.RunAsync("image", "create", file, "1M", "--format", "raw"));
        Assert.Equal(0, await cli.RunAsync("image", "create", file, "1M", "--format", "raw", "--force"));
        Assert.Equal(1 << 20, new FileInfo(file).Length);
    }

    [Fact]
    public void Disk_AllParts_AreUnderstood()
    {
        List<string> errors = [];
        var disk = DiskArgument.Parse("a.qcow2,format=qcow2,readonly,overlay=top.qcow2,serial=s1,iops=100,bps=10M,snapshot=one", errors.Add);
        Assert.Empty(errors);
        Assert.Equal(new DiskArgument("a.qcow2", DiskFormat.Qcow2) { ReadOnly = true, Overlay = true, OverlayFile = "top.qcow2", Serial = "s1", OperationsPerSecond = 100, BytesPerSecond = 10 << 20, Snapshot = "one" }, disk);
    }

    [Theory]
    [InlineData("a.img")]
    [InlineData("a.img,format=vdi")]
    [InlineData("a.img,format=raw,iops=0")]
    [InlineData("a.img,format=raw,serial=123456789012345678901")]
    [InlineData(",format=raw")]
    [InlineData("a.img,format=raw,readonly=yes")]
    public void Disk_PartsThatAreWrong_AreRefused(string text)
    {
        List<string> errors = [];
        DiskArgument.Parse(text, errors.Add);
        Assert.NotEmpty(errors);
    }

    [Fact]
    public async Task Overlay_InAFile_KeepsChangesThereAndTheBaseAsItWas()
    {
        using var cli = new CliRun();
        var (file, top) = (cli.File("base.raw", Enumerable.Repeat((byte)1, 1 << 20).ToArray()), cli.PathOf("top.qcow2"));
        var argument = DiskArgument.Parse($"{file},format=raw,overlay={top}", Assert.Fail)!;
        await using (var disk = await argument.OpenAsync()) await disk.WriteAsync(70_000, new byte[] { 2, 2 });
        await using (var disk = await argument.OpenAsync())
        {
            var read = new byte[4];
            await disk.ReadAsync(69_999, read);
            Assert.Equal([1, 2, 2, 1], read);
        }

        Assert.All(await File.ReadAllBytesAsync(file), b => Assert.Equal(1, b));
    }
}
