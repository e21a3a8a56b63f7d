using System.Buffers.Binary;
using Vmm.Devices.Storage;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.TestSupport.Virtio;
using Buffer = Vmm.TestSupport.Virtio.Buffer;

namespace Vmm.Storage.Tests.Support;

/// <summary>A virtio disk from the driver's side.</summary>
internal sealed class BlockBench : IDisposable
{
    public const ulong Header = VirtioBench.Data, Status = VirtioBench.Data + 0x800, Data = VirtioBench.Data + 0x1000;

    private readonly VirtioBench _bench;

    public BlockBench(IBlockStore store, VirtioBlockOptions? block = null, VirtioOptions? options = null, ulong wanted = ulong.MaxValue)
    {
        Device = new VirtioBlock(store, block);
        _bench = new VirtioBench(Device, options);
        _bench.Driver.Start(block?.Queues ?? 1, 16, wanted);
    }

    public VirtioBlock Device { get; }

    public VirtioBench Bench => _bench;

    public DriverQueue Queue => _bench.Driver.Queues[0];

    /// <summary>A request as the specification has it; the status byte, and what was said to be written.</summary>
    public async Task<(byte Status, uint Written)> RequestAsync(uint type, ulong sector, params Buffer[] data)
    {
        Send(type, sector, data);
        return await TakeAsync();
    }

    public void Send(uint type, ulong sector, params Buffer[] data)
    {
        WriteHeader(type, sector);
        Queue.Add([new Buffer(Header, 16), .. data, new Buffer(Status, 1, true)]);
        _bench.Transport.Notify(0);
    }

    public async Task<(byte Status, uint Written)> SendRawAsync(params Buffer[] buffers)
    {
        _bench.Memory.TryWrite<byte>(Status, 0xEE);
        Queue.Add(buffers);
        _bench.Transport.Notify(0);
        return await TakeAsync();
    }

    public void WriteHeader(uint type, ulong sector)
    {
        _bench.Memory.TryWrite(Header, type);
        _bench.Memory.TryWrite(Header + 4, 0u);
        _bench.Memory.TryWrite(Header + 8, sector);
        _bench.Memory.TryWrite<byte>(Status, 0xEE);
    }

    public async Task<(byte Status, uint Written)> TakeAsync()
    {
        await Device.DrainAsync();
        Assert.True(Queue.TryTakeUsed(out _, out var written), "The request was not answered.");
        return (_bench.Read(Status, 1)[0], written);
    }

    public void WriteRange(ulong address, ulong sector, uint sectors, uint flags)
    {
        var bytes = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, sector);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(8), sectors);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(12), flags);
        _bench.Memory.TryWrite(address, bytes);
    }

    public void Dispose() => _bench.Dispose();
}
