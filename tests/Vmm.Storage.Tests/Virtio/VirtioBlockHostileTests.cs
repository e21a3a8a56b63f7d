using Vmm.Devices.Storage;
using Vmm.Devices.Virtio.Block;
using Vmm.Storage.Tests.Support;
using Vmm.TestSupport.Storage;
using Vmm.TestSupport.Virtio;
using Buffer = Vmm.TestSupport.Virtio.Buffer;

namespace Vmm.Storage.Tests.Virtio;

/// <summary>Drivers that do what they may not: case 49 of the list of known attacks (CVE-2011-1750, CVE-2024-8612 and others).</summary>
public class VirtioBlockHostileTests : IDisposable
{
    private const uint In = 0, Out = 1, Flush = 4, GetId = 8, Discard = 11, WriteZeroes = 13;
    private const ulong Header = BlockBench.Header, Status = BlockBench.Status, Data = BlockBench.Data;

    private readonly MemoryStore _store = new(Enumerable.Repeat((byte)7, 1 << 20).ToArray());
    private readonly BlockBench _bench;

    public VirtioBlockHostileTests() => _bench = new BlockBench(_store);

    public void Dispose() => _bench.Dispose();

    [Theory]
    [InlineData(2048UL, 512u)]
    [InlineData(2047UL, 1024u)]
    [InlineData(ulong.MaxValue, 512u)]
    [InlineData(ulong.MaxValue >> 9, 512u)]
    [InlineData(1UL << 55, 1024u)]
    public async Task SectorBeyondTheCapacity_IsAnIoError(ulong sector, uint length)
    {
        Assert.Equal((1, 0u), await _bench.RequestAsync(In, sector, new Buffer(Data, length, true)));
        Assert.Equal((1, 1u), await _bench.RequestAsync(Out, sector, new Buffer(Data, length)));
        await UnchangedAsync();
    }

    [Theory]
    [InlineData(1u)]
    [InlineData(511u)]
    [InlineData(513u)]
    public async Task LengthThatIsNoSectors_IsAnIoError(uint length)
    {
        Assert.Equal((1, 0u), await _bench.RequestAsync(In, 0, new Buffer(Data, length, true)));
        Assert.Equal((1, 1u), await _bench.RequestAsync(Out, 0, new Buffer(Data, length)));
        await UnchangedAsync();
    }

    [Fact]
    public async Task DataInTheWrongDirection_IsAnIoError()
    {
        Assert.Equal(1, (await _bench.RequestAsync(In, 0, new Buffer(Data, 512))).Status);
        Assert.Equal(1, (await _bench.RequestAsync(Out, 0, new Buffer(Data, 512, true))).Status);
        Assert.Equal(1, (await _bench.RequestAsync(Out, 0, new Buffer(Data, 512), new Buffer(Data, 512, true))).Status);
        await UnchangedAsync();
    }

    [Fact]
    public async Task HeaderOverSixteenDescriptors_IsServed()
    {
        using var bench = new BlockBench(new MemoryStore(1 << 20));
        bench.WriteHeader(GetId, 0);
        var buffers = Enumerable.Range(0, 14).Select(i => new Buffer(Header + (ulong)i, 1)).Append(new Buffer(Header + 14, 2)).Append(new Buffer(Status, 1, true)).ToArray();
        Assert.Equal(0, (await bench.SendRawAsync(buffers)).Status);
    }

    [Fact]
    public void NoStatusByte_AsksForAReset()
    {
        _bench.WriteHeader(In, 0);
        _bench.Queue.Add(new Buffer(Header, 16), new Buffer(Data, 512));
        _bench.Bench.Transport.Notify(0);
        Assert.True(_bench.Bench.IsBroken);
    }

    [Fact]
    public async Task ShortHeader_IsAnIoError() => Assert.Equal(1, (await _bench.SendRawAsync(new Buffer(Header, 15), new Buffer(Status, 1, true))).Status);

    [Fact]
    public async Task NoHeader_IsAnIoError() => Assert.Equal(1, (await _bench.SendRawAsync(new Buffer(Status, 1, true))).Status);

    [Theory]
    [InlineData(Discard, 0UL, uint.MaxValue, 0u, 1)]
    [InlineData(WriteZeroes, 0UL, uint.MaxValue, 0u, 1)]
    [InlineData(Discard, 2000UL, 100u, 0u, 1)]
    [InlineData(WriteZeroes, ulong.MaxValue, 1u, 0u, 1)]
    [InlineData(Discard, 0UL, 1u, 1u, 2)]
    [InlineData(WriteZeroes, 0UL, 1u, 2u, 2)]
    public async Task RangeTooLargeOrFlagsUnknown_IsRefused(uint type, ulong sector, uint sectors, uint flags, int status)
    {
        _bench.WriteRange(Data, sector, sectors, flags);
        Assert.Equal(status, (await _bench.RequestAsync(type, 0, new Buffer(Data, 16))).Status);
        await UnchangedAsync();
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(15u)]
    [InlineData(17u)]
    [InlineData(17u * 16)]
    [InlineData(0x8000u)]
    public async Task RangesOfWrongNumberOrLength_AreAnIoError(uint length)
    {
        Assert.Equal(1, (await _bench.RequestAsync(Discard, 0, length == 0 ? [] : [new Buffer(Data, length)])).Status);
        await UnchangedAsync();
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(5u)]
    [InlineData(400u)]
    public async Task GetIdOfAnotherLength_WritesNoMoreThanTwentyBytes(uint length)
    {
        _bench.Bench.Memory.TryFill(Data, 512, 0xAA);
        Assert.Equal(0, (await _bench.RequestAsync(GetId, 0, length == 0 ? [] : [new Buffer(Data, length, true)])).Status);
        Assert.Equal(512 - (int)Math.Min(length, 20), _bench.Bench.Read(Data, 512).Count(b => b == 0xAA));
    }

    [Theory]
    [InlineData(2u)]
    [InlineData(14u)]
    [InlineData(uint.MaxValue)]
    public async Task UnknownType_IsUnsupported(uint type) => Assert.Equal(2, (await _bench.RequestAsync(type, 0)).Status);

    [Fact]
    public async Task FlushWithData_IsAnIoError() => Assert.Equal(1, (await _bench.RequestAsync(Flush, 0, new Buffer(Data, 512))).Status);

    [Fact]
    public async Task FailedRead_ClaimsNoByteOfTheBuffer()
    {
        _bench.Bench.Memory.TryFill(Data, 1024, 0xAA);
        var (status, written) = await _bench.RequestAsync(In, 2047, new Buffer(Data, 1024, true));
        Assert.Equal((1, 0u), (status, written));
        Assert.Equal(1024, _bench.Bench.Read(Data, 1024).Count(b => b == 0xAA));
    }

    [Fact]
    public async Task ReadOnlyDisk_RefusesEveryChange()
    {
        using var bench = new BlockBench(_store, new VirtioBlockOptions { ReadOnly = true });
        bench.WriteRange(Data, 0, 1, 0);
        Assert.Equal(1, (await bench.RequestAsync(Out, 0, new Buffer(Data, 512))).Status);
        Assert.Equal(1, (await bench.RequestAsync(Discard, 0, new Buffer(Data, 16))).Status);
        Assert.Equal(1, (await bench.RequestAsync(WriteZeroes, 0, new Buffer(Data, 16))).Status);
        await UnchangedAsync();
    }

    [Fact]
    public async Task RawDiskWhoseGuestWritesAQcow2Header_StaysRaw()
    {
        // Case 50: nothing looks at a disk's contents to find its format.
        _bench.Bench.Memory.TryWrite(Data, "QFI\xfb"u8[..4]);
        Assert.Equal(0, (await _bench.RequestAsync(Out, 0, new Buffer(Data, 512))).Status);
        Assert.Equal((0, 513u), await _bench.RequestAsync(In, 0, new Buffer(Data + 0x1000, 512, true)));
        Assert.Equal(_bench.Bench.Read(Data, 512), _bench.Bench.Read(Data + 0x1000, 512));
    }

    [Fact]
    public void Disk_UnderAttack_Survives() => HostileDriver.Attack(() => new VirtioBlock(new MemoryStore(1 << 20), new VirtioBlockOptions { Queues = 2, Serial = "attacked" }));

    [Fact]
    public void DiskWhoseStoreAnswersLater_UnderAttack_Survives()
    {
        // Answers come from other threads, every eighth is an error.
        var request = 0;
        HostileDriver.Attack(() => new VirtioBlock(new FaultyStore(new MemoryStore(1 << 20), _ => new BlockFault { After = Task.Run(static () => { }), Error = Interlocked.Increment(ref request) % 8 == 0 ? new IOException("The disk failed.") : null })));
    }

    private async Task UnchangedAsync()
    {
        var bytes = new byte[1 << 20];
        await _store.ReadAsync(0, bytes);
        Assert.Equal(-1, bytes.AsSpan().IndexOfAnyExcept((byte)7));
        Assert.False(_bench.Bench.IsBroken);
    }
}
