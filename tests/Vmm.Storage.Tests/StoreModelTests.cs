using FsCheck.Xunit;
using Vmm.Devices.Storage;
using Vmm.Storage.Tests.Support;

namespace Vmm.Storage.Tests;

/// <summary>Stores against a model, by random sequences of requests.</summary>
public class StoreModelTests
{
    private const int Size = 300_000;

    [Property(Arbitrary = [typeof(DiskOperations)], MaxTest = 60)]
    public void MemoryStore_AnySequence_IsAsTheModel(DiskOperation[] operations) => Check(operations, () => new MemoryStore(Start()), _ => { });

    [Property(Arbitrary = [typeof(DiskOperations)], MaxTest = 40)]
    public void RawFile_AnySequence_IsAsTheModel(DiskOperation[] operations)
    {
        using var folder = new ScratchFolder();
        File.WriteAllBytes(folder["disk.raw"], Start());
        Check(operations, () => RawFileStore.Open(folder["disk.raw"]), contents => Assert.Equal(contents, File.ReadAllBytes(folder["disk.raw"])));
    }

    [Property(Arbitrary = [typeof(DiskOperations)], MaxTest = 60)]
    public void Overlay_AnySequence_IsAsTheModelAndTheBaseStays(DiskOperation[] operations)
    {
        var start = Start();
        Check(operations, () => new OverlayStore(new MemoryStore(start, isReadOnly: true)), _ => Assert.Equal(Start(), start), reopens: false);
    }

    [Property(MaxTest = 60)]
    public void Overlay_Resized_NeverShowsTheBaseAgain(uint[] lengths, byte value)
    {
        var model = new DiskModel(new OverlayStore(new MemoryStore(Start(), isReadOnly: true)), Start(), 2 * Size);
        foreach (var length in lengths)
        {
            model.ApplyAsync(new DiskOperation(DiskOperationKind.Resize, 0, length, 0)).GetAwaiter().GetResult();
            model.ApplyAsync(new DiskOperation(DiskOperationKind.Write, length / 2, 1000, value)).GetAwaiter().GetResult();
            model.CheckAsync().GetAwaiter().GetResult();
        }
    }

    private static byte[] Start()
    {
        var start = new byte[Size];
        DiskModel.Pattern(start.AsSpan(0, Size / 2), 1);
        return start;
    }

    private static void Check(DiskOperation[] operations, Func<IBlockStore> open, Action<byte[]> after, bool reopens = true) => Task.Run(async () =>
    {
        var model = new DiskModel(open(), Start(), 2 * Size);
        foreach (var operation in operations)
        {
            if (operation.Kind == DiskOperationKind.Reopen && reopens && model.Store is RawFileStore)
            {
                await model.Store.DisposeAsync();
                model.Store = open();
            }

            await model.ApplyAsync(operation);
        }

        await model.CheckAsync();
        await model.Store.DisposeAsync();
        after(model.Contents);
    }).GetAwaiter().GetResult();
}
