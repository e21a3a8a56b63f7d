using FsCheck;
using FsCheck.Fluent;
using FsCheck.Xunit;
using Vmm.Devices.Storage;
using Vmm.Devices.Storage.Qcow2;
using Vmm.Storage.Tests.Support;

namespace Vmm.Storage.Tests.Qcow2;

/// <summary>qcow2 images of all kinds against a model, by random sequences of requests, and then against our check and qemu-img's.</summary>
public class Qcow2ModelTests
{
    private const int Size = 1_500_160, Maximum = 3_000_320;

    public static TheoryData<string> Kinds => [.. Images.Keys];

    private static readonly Dictionary<string, Qcow2CreateOptions> Images = new()
    {
        ["v3"] = new(),
        ["v2"] = new() { Version = 2, ClusterSize = 4096 },
        ["small clusters"] = new() { ClusterSize = 512 },
        ["64-bit refcounts"] = new() { ClusterSize = 1024, RefcountBits = 64 },
        ["1-bit refcounts"] = new() { ClusterSize = 4096, RefcountBits = 1 },
        ["lazy"] = new() { ClusterSize = 4096, LazyRefcounts = true },
        ["extended"] = new() { ClusterSize = 1 << 14, ExtendedL2 = true },
        ["zstd"] = new() { ClusterSize = 1 << 14, Compression = Qcow2Compression.Zstd },
        ["large clusters"] = new() { ClusterSize = 1 << 21 },
    };

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Image_AnySequence_IsAsTheModel(string kind) => Run(Images[kind], null);

    [Theory]
    [InlineData("v3")]
    [InlineData("v2")]
    [InlineData("extended")]
    [InlineData("small clusters")]
    public void ImageOverABase_AnySequence_IsAsTheModel(string kind)
    {
        var start = new byte[Size / 2];
        DiskModel.Pattern(start, 9);
        Run(Images[kind], start);
    }

    private static void Run(Qcow2CreateOptions options, byte[]? backing)
    {
        var count = int.TryParse(Environment.GetEnvironmentVariable("VMM_TEST_QCOW2_SEQUENCES"), out var n) ? n : 2;
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(count).WithEndSize(60), Prop.ForAll(Arb.From(DiskOperations.Of(), DiskOperations.Shrink), operations =>
            Task.Run(() => RunAsync(options, backing, operations)).GetAwaiter().GetResult()));
    }

    private static async Task RunAsync(Qcow2CreateOptions options, byte[]? backing, DiskOperation[] operations)
    {
        using var folder = new ScratchFolder();
        var path = folder["disk.qcow2"];
        await using (var file = RawFileStore.Create(path, 0)) await Qcow2Store.CreateAsync(file, Size, options);
        async Task<IBlockStore> OpenAsync() => await Qcow2Store.OpenAsync(RawFileStore.Open(path), "disk", new Qcow2Options { Backing = backing is null ? null : new MemoryStore(backing, isReadOnly: true), CacheBytes = 1 });
        var contents = new byte[Size];
        backing?.CopyTo(contents, 0);
        var model = new DiskModel(await OpenAsync(), contents, Maximum);
        foreach (var operation in operations)
        {
            if (operation.Kind == DiskOperationKind.Reopen)
            {
                await model.Store.DisposeAsync();
                model.Store = await OpenAsync();
            }

            await model.ApplyAsync(operation);
        }

        await model.CheckAsync();
        var found = await ((Qcow2Store)model.Store).CheckAsync();
        Assert.True(found is { Corruptions: 0, Leaks: 0 }, string.Join('\n', found.Messages));
        await model.Store.DisposeAsync();
        if (!QemuImg.IsThere) return;
        QemuImg.Check(path);
        if (backing is not null) return;
        await File.WriteAllBytesAsync(folder["model.raw"], model.Contents);
        QemuImg.Run("compare", "-f", "qcow2", "-F", "raw", path, folder["model.raw"]);
    }
}
