using Microsoft.Extensions.Time.Testing;
using Vmm.Devices.Storage;

namespace Vmm.Storage.Tests;

public class RateLimiterTests
{
    private readonly FakeTimeProvider _time = new();

    [Fact]
    public void Operations_OverTheBurst_PassAtTheRate()
    {
        using var limiter = new RateLimiter(new RateLimit { OperationsPerSecond = 10, BurstOperations = 2 }, _time);
        var passed = Enumerable.Range(0, 12).Select(_ => limiter.WaitAsync(0).AsTask()).ToArray();
        Assert.Equal(2, passed.Count(t => t.IsCompleted));
        _time.Advance(TimeSpan.FromSeconds(0.5));
        Assert.Equal(7, 12 - limiter.Waiting);
        _time.Advance(TimeSpan.FromSeconds(0.5));
        Assert.Equal(0, limiter.Waiting);
    }

    [Fact]
    public void Bytes_MoreThanTheBurst_PassAndAreOwed()
    {
        using var limiter = new RateLimiter(new RateLimit { BytesPerSecond = 1000, BurstBytes = 100 }, _time);
        Assert.True(limiter.WaitAsync(5000).IsCompleted);
        var next = limiter.WaitAsync(1).AsTask();
        _time.Advance(TimeSpan.FromSeconds(4.8));
        Assert.Equal(1, limiter.Waiting);
        _time.Advance(TimeSpan.FromSeconds(0.2));
        Assert.Equal(0, limiter.Waiting);
    }

    [Fact]
    public void Limit_Raised_ReleasesWhoWaits()
    {
        using var limiter = new RateLimiter(new RateLimit { OperationsPerSecond = 1, BurstOperations = 1 }, _time);
        _ = limiter.WaitAsync(0);
        var waits = limiter.WaitAsync(0).AsTask();
        limiter.Limit = RateLimit.None;
        Assert.Equal(0, limiter.Waiting);
    }

    [Fact]
    public async Task Dispose_WhoWaits_Fails()
    {
        var limiter = new RateLimiter(new RateLimit { OperationsPerSecond = 1, BurstOperations = 1 }, _time);
        _ = limiter.WaitAsync(0);
        var waits = limiter.WaitAsync(0).AsTask();
        limiter.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => waits);
    }

    [Fact]
    public async Task ThrottledStore_ReadsAndWrites_TakeTheirTurn()
    {
        await using var store = new ThrottledStore(new MemoryStore(10000), new RateLimit { BytesPerSecond = 1000, BurstBytes = 1000 }, _time);
        await store.WriteAsync(0, new byte[1000]);
        var read = store.ReadAsync(0, new byte[1000]).AsTask();
        Assert.False(read.IsCompleted);
        await store.FlushAsync();
        _time.Advance(TimeSpan.FromSeconds(1));
        await read;
    }
}
