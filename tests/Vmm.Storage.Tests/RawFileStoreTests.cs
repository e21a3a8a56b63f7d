using System.Runtime.InteropServices;
using Vmm.Devices.Storage;
using Vmm.Storage.Tests.Support;

namespace Vmm.Storage.Tests;

public class RawFileStoreTests
{
    [Fact]
    public async Task File_OpenForWriting_IsHadAlone()
    {
        using var folder = new ScratchFolder();
        await using var store = RawFileStore.Create(folder["disk"], 4096);
        Assert.Throws<IOException>(() => RawFileStore.Open(folder["disk"]));
        Assert.Throws<IOException>(() => RawFileStore.Open(folder["disk"], new RawFileOptions { ReadOnly = true }));
    }

    [Fact]
    public async Task File_Readers_ShareIt()
    {
        using var folder = new ScratchFolder();
        File.WriteAllBytes(folder["disk"], [1, 2, 3]);
        await using var one = RawFileStore.Open(folder["disk"], new RawFileOptions { ReadOnly = true });
        await using var two = RawFileStore.Open(folder["disk"], new RawFileOptions { ReadOnly = true });
        Assert.Equal(3, two.Length);
    }

    [Fact]
    public void File_ThatIsAFolder_IsRefused()
    {
        using var folder = new ScratchFolder();
        Assert.Throws<IOException>(() => RawFileStore.Open(folder.FullName));
    }

    [Fact]
    public async Task File_CutShortByAnother_EndsTheReadWithAnError()
    {
        using var folder = new ScratchFolder();
        File.WriteAllBytes(folder["disk"], new byte[8192]);
        await using var store = RawFileStore.Open(folder["disk"], new RawFileOptions { ReadOnly = true });
        using (var other = new FileStream(folder["disk"], new FileStreamOptions { Mode = FileMode.Open, Access = FileAccess.Write, Share = FileShare.ReadWrite })) other.SetLength(100);
        await Assert.ThrowsAsync<EndOfStreamException>(async () => await store.ReadAsync(0, new byte[8192]));
        await Assert.ThrowsAsync<EndOfStreamException>(async () => await store.ReadAsync(0, [new byte[64], new byte[64]]));
    }

    [Fact]
    public async Task Discard_OnLinux_GivesTheSpaceBack()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Holes are made on Linux.");
        using var folder = new ScratchFolder();
        await using var store = RawFileStore.Create(folder["disk"], 1 << 20);
        var data = new byte[1 << 20];
        new Random(1).NextBytes(data);
        await store.WriteAsync(0, data);
        await store.DiscardAsync(4096, 1 << 19);
        Assert.Equal(new BlockExtent(1 << 19, true), await store.GetExtentAsync(4096, (1 << 20) - 4096));
        var read = new byte[4096];
        await store.ReadAsync(0, read);
        Assert.Equal(data[..4096], read);
    }

    [Theory]
    [InlineData(0, 4096)]
    [InlineData(100, 50)]
    [InlineData(4000, 10000)]
    [InlineData(4096, 8192)]
    public async Task Direct_AnyAlignment_IsServed(int offset, int length)
    {
        using var folder = new ScratchFolder();
        var model = new byte[1 << 16];
        new Random(2).NextBytes(model);
        File.WriteAllBytes(folder["disk"], model);
        RawFileStore store;
        try
        {
            store = RawFileStore.Open(folder["disk"], new RawFileOptions { Direct = true });
        }
        catch (IOException e) when (e.Message.Contains("past the page cache"))
        {
            Assert.Skip($"The file system of {Path.GetTempPath()} has no O_DIRECT; set TMPDIR to one that has.");
            return;
        }

        var data = new byte[length];
        new Random(3).NextBytes(data);
        data.CopyTo(model, offset);
        await store.WriteAsync(offset, data);
        await store.FlushAsync();
        var read = new byte[length];
        await store.ReadAsync(offset, read);
        await store.DisposeAsync();
        Assert.Equal(data, read);
        Assert.Equal(model, File.ReadAllBytes(folder["disk"]));
    }

    [Fact]
    public async Task ManyRequests_AtOnce_AllComplete()
    {
        using var folder = new ScratchFolder();
        await using var store = RawFileStore.Create(folder["disk"], 256 * 4096);
        await Task.WhenAll(Enumerable.Range(0, 256).Select(i => store.WriteAsync(i * 4096, Enumerable.Repeat((byte)i, 4096).ToArray()).AsTask()));
        var pieces = Enumerable.Range(0, 256).Select(_ => new byte[4096]).ToArray();
        await Task.WhenAll(Enumerable.Range(0, 256).Select(i => store.ReadAsync(i * 4096, pieces[i]).AsTask()));
        for (var i = 0; i < 256; i++) Assert.True(pieces[i].All(b => b == (byte)i));
    }
}
