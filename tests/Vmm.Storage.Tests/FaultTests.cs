using Vmm.Devices.Storage;
using Vmm.TestSupport.Storage;

namespace Vmm.Storage.Tests;

/// <summary>The stores that tests are made with do what they say.</summary>
public class FaultTests
{
    [Fact]
    public async Task FaultyStore_TornWrite_WritesPartAndFails()
    {
        await using var store = new FaultyStore(new MemoryStore(1024), r => r.Kind == BlockRequestKind.Write ? new BlockFault { Torn = 512, Error = new IOException("torn") } : null);
        await Assert.ThrowsAsync<IOException>(async () => await store.WriteAsync(0, Enumerable.Repeat((byte)1, 1024).ToArray()));
        var read = new byte[1024];
        await store.ReadAsync(0, read);
        Assert.Equal(512, read.Count(b => b == 1));
    }

    [Fact]
    public async Task PowerCut_FlushedWrites_AreAlwaysThere()
    {
        var store = new PowerCutStore(new byte[4096], cutAt: 3);
        await store.WriteAsync(0, Enumerable.Repeat((byte)1, 1024).ToArray());
        await store.FlushAsync();
        await store.WriteAsync(0, Enumerable.Repeat((byte)2, 1024).ToArray());
        await Assert.ThrowsAsync<IOException>(async () => await store.FlushAsync());
        var seen = Enumerable.Range(0, 50).Select(seed => store.Medium(new Random(seed))).ToList();
        Assert.All(seen, m => Assert.True(m[..1024].All(b => b is 1 or 2)));
        Assert.Contains(seen, m => m[0] == 1);
        Assert.Contains(seen, m => m[1023] == 2);
    }
}
