using System.Text;
using Vmm.Devices.Storage;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Storage.Tests.Support;
using Vmm.TestSupport.Storage;
using Vmm.TestSupport.Virtio;
using Buffer = Vmm.TestSupport.Virtio.Buffer;
using Vmm.TestSupport;

namespace Vmm.Storage.Tests.Virtio;

/// <summary>The disk from the driver's side: virtio 1.3, 5.2.</summary>
public class VirtioBlockTests
{
    private const uint In = 0, Out = 1, Flush = 4, GetId = 8, Discard = 11, WriteZeroes = 13;

    public static TheoryData<VirtioTransportKind, bool> Kinds => new()
    {
        { VirtioTransportKind.Mmio, false }, { VirtioTransportKind.Mmio, true }, { VirtioTransportKind.Pci, false }, { VirtioTransportKind.Pci, true },
    };

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task Written_Sectors_AreReadBack(VirtioTransportKind transport, bool packed)
    {
        using var bench = new BlockBench(new MemoryStore(1 << 20), options: new VirtioOptions { Transport = transport, Packed = packed });
        var data = new byte[3 * 512];
        new Random(1).NextBytes(data);
        bench.Bench.Memory.TryWrite(BlockBench.Data, data);
        Assert.Equal((0, 1u), await bench.RequestAsync(Out, 5, new Buffer(BlockBench.Data, 512), new Buffer(BlockBench.Data + 512, 1024)));
        Assert.Equal((0, 1537u), await bench.RequestAsync(In, 5, new Buffer(BlockBench.Data + 0x2000, 100, true), new Buffer(BlockBench.Data + 0x3000, 1436, true)));
        Assert.Equal(data[..100], bench.Bench.Read(BlockBench.Data + 0x2000, 100));
        Assert.Equal(data[100..], bench.Bench.Read(BlockBench.Data + 0x3000, 1436));
        Assert.Equal((0, 1u), await bench.RequestAsync(Flush, 0));
        Assert.Equal(0, bench.Device.Mistakes);
    }

    [Fact]
    public async Task RawFile_Requests_CompleteFromItsThreads()
    {
        using var folder = new ScratchFolder();
        using (var bench = new BlockBench(RawFileStore.Create(folder["disk"], 1 << 20)))
        {
            bench.Bench.Memory.TryFill(BlockBench.Data, 4096, 0x5A);
            Assert.Equal((0, 1u), await bench.RequestAsync(Out, 8, new Buffer(BlockBench.Data, 4096)));
            Assert.Equal((0, 1u), await bench.RequestAsync(Flush, 0));
            bench.Device.Dispose();
        }

        Assert.Equal(4096, File.ReadAllBytes(folder["disk"]).Count(b => b == 0x5A));
    }

    [Fact]
    public async Task SlowRequest_HoldsUpNoOther()
    {
        var slow = new TaskCompletionSource();
        using var bench = new BlockBench(new FaultyStore(new MemoryStore(1 << 20), r => r is { Kind: BlockRequestKind.Read, Offset: 0 } ? new BlockFault { After = slow.Task } : null));
        bench.Bench.Memory.TryWrite(0x9_0000, 0u);
        bench.WriteHeader(In, 0);
        bench.Queue.Add(new Buffer(BlockBench.Header, 16), new Buffer(BlockBench.Data, 512, true), new Buffer(0x9_8000, 1, true));
        bench.Bench.Transport.Notify(0);
        bench.Bench.Memory.TryWrite(0x9_1008, 9UL);
        bench.Bench.Memory.TryWrite(0x9_1000, 0UL);
        var second = bench.Queue.Add(new Buffer(0x9_1000, 16), new Buffer(BlockBench.Data + 0x1000, 512, true), new Buffer(0x9_8001, 1, true));
        bench.Bench.Transport.Notify(0);
        Assert.True(bench.Queue.TryTakeUsed(out var id, out _));
        Assert.Equal(second, id);
        Assert.Equal(1, bench.Device.InFlight);
        slow.SetResult();
        await bench.Device.DrainAsync();
        Assert.True(bench.Queue.TryTakeUsed(out _, out _));
    }

    [Fact]
    public async Task StoreThatFails_IsAnIoErrorAndNoData()
    {
        using var bench = new BlockBench(new FaultyStore(new MemoryStore(1 << 20), _ => new BlockFault { Error = new IOException("broken") }));
        Assert.Equal((1, 0u), await bench.RequestAsync(In, 0, new Buffer(BlockBench.Data, 512, true)));
        Assert.Equal((1, 1u), await bench.RequestAsync(Out, 0, new Buffer(BlockBench.Data, 512)));
        Assert.Equal((1, 1u), await bench.RequestAsync(Flush, 0));
        Assert.Equal(3, bench.Device.Errors);
        Assert.False(bench.Bench.IsBroken);
    }

    [Fact]
    public async Task DiscardAndWriteZeroes_Ranges_AreZeros()
    {
        var store = new MemoryStore(Enumerable.Repeat((byte)7, 1 << 20).ToArray());
        using var bench = new BlockBench(store);
        bench.WriteRange(BlockBench.Data, 0, 128, 0);
        bench.WriteRange(BlockBench.Data + 16, 256, 128, 0);
        Assert.Equal((0, 1u), await bench.RequestAsync(Discard, 0, new Buffer(BlockBench.Data, 32)));
        bench.WriteRange(BlockBench.Data, 1, 3, 1);
        Assert.Equal((0, 1u), await bench.RequestAsync(WriteZeroes, 0, new Buffer(BlockBench.Data, 16)));
        var bytes = new byte[1 << 20];
        await store.ReadAsync(0, bytes);
        Assert.Equal((1 << 20) - 256 * 512, bytes.Count(b => b == 7));
    }

    [Fact]
    public async Task Serial_IsWhatWasGiven()
    {
        using var bench = new BlockBench(new MemoryStore(512), new VirtioBlockOptions { Serial = "disk-42" });
        Assert.Equal((0, 21u), await bench.RequestAsync(GetId, 0, new Buffer(BlockBench.Data, 20, true)));
        Assert.Equal("disk-42", Encoding.ASCII.GetString(bench.Bench.Read(BlockBench.Data, 20)).TrimEnd('\0'));
    }

    [Fact]
    public async Task Resize_WhileRunning_TellsTheDriver()
    {
        using var bench = new BlockBench(new MemoryStore(1 << 20));
        Assert.Equal(2048u, bench.Bench.Transport.ReadConfig(0, 4));
        await bench.Device.ResizeAsync(1 << 21);
        Assert.True(bench.Bench.Transport.TakeInterrupt(null));
        Assert.Equal(4096u, bench.Bench.Transport.ReadConfig(0, 4));
        Assert.Equal((0, 513u), await bench.RequestAsync(In, 4095, new Buffer(BlockBench.Data, 512, true)));
    }

    [Fact]
    public void Config_TellsTopologyQueuesAndLimits()
    {
        using var bench = new BlockBench(new MemoryStore(1 << 20), new VirtioBlockOptions { Queues = 4 });
        Assert.Equal(512u, bench.Bench.Transport.ReadConfig(20, 4));
        Assert.Equal(4u, bench.Bench.Transport.ReadConfig(34, 2));
        Assert.Equal(16u, bench.Bench.Transport.ReadConfig(40, 4));
        Assert.NotEqual(0u, bench.Bench.Transport.ReadConfig(48, 4));
    }

    [Fact]
    public async Task WithoutFlushFeature_WritesAreDurableAtOnce()
    {
        var flushes = 0;
        using var bench = new BlockBench(new FaultyStore(new MemoryStore(1 << 20), r =>
        {
            if (r.Kind == BlockRequestKind.Flush) flushes++;
            return null;
        }), wanted: ~(1UL << 9));
        await bench.RequestAsync(Out, 0, new Buffer(BlockBench.Data, 512));
        Assert.Equal(1, flushes);
    }

    [Fact]
    public async Task RateLimit_ChangedWhileRequestsWait_LetsThemGo()
    {
        using var bench = new BlockBench(new MemoryStore(1 << 20), new VirtioBlockOptions { Limit = new RateLimit { OperationsPerSecond = 1, BurstOperations = 1 } });
        await bench.RequestAsync(In, 0, new Buffer(BlockBench.Data, 512, true));
        bench.Send(In, 0, new Buffer(BlockBench.Data, 512, true));
        Assert.Equal(1, bench.Device.InFlight);
        bench.Device.Limit = RateLimit.None;
        Assert.Equal((0, 513u), await bench.TakeAsync());
    }

    [Fact]
    public async Task Requests_ToAStoreInMemory_AllocateNothing()
    {
        using var bench = new BlockBench(new MemoryStore(1 << 20));
        for (var i = 0; i < 100; i++) await bench.RequestAsync(In, 0, new Buffer(BlockBench.Data, 512, true));
        bench.WriteHeader(In, 0);
        void Round()
        {
            bench.Queue.Add(new Buffer(BlockBench.Header, 16), new Buffer(BlockBench.Data, 512, true), new Buffer(BlockBench.Status, 1, true));
            bench.Bench.Transport.Notify(0);
            bench.Queue.TryTakeUsed(out _, out _);
        }

        for (var i = 0; i < 10; i++) Round();
        Assert.Equal(0, Allocations.LeastOf(() => { for (var i = 0; i < 1000; i++) Round(); }));
    }
}
