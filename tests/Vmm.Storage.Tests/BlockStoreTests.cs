using Vmm.Devices.Storage;

namespace Vmm.Storage.Tests;

public class BlockStoreTests
{
    [Theory]
    [InlineData(-1, 1)]
    [InlineData(0, 1001)]
    [InlineData(1000, 1)]
    [InlineData(long.MaxValue, 1)]
    public async Task Range_OutsideTheDisk_IsRefused(long offset, int length)
    {
        await using var store = new MemoryStore(1000);
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await store.ReadAsync(offset, new byte[length]));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await store.WriteAsync(offset, new byte[length]));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await store.DiscardAsync(offset, length));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await store.WriteZeroesAsync(offset, length));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(async () => await store.GetExtentAsync(offset, length));
    }

    [Fact]
    public async Task ReadOnlyStore_Changes_AreRefused()
    {
        await using var store = new MemoryStore(1000, isReadOnly: true);
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await store.WriteAsync(0, new byte[1]));
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await store.DiscardAsync(0, 1));
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await store.WriteZeroesAsync(0, 1));
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await store.ResizeAsync(1));
    }

    [Fact]
    public async Task MemoryStore_OfTerabytes_TakesSpaceForWhatIsWritten()
    {
        await using var store = new MemoryStore(1L << 46);
        await store.WriteAsync((1L << 46) - 1, new byte[] { 7 });
        Assert.Equal(1 << 16, store.AllocatedBytes);
        await store.DiscardAsync(0, 1L << 46);
        Assert.Equal(0, store.AllocatedBytes);
    }
}
