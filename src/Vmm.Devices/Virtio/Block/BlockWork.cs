using System.Runtime.CompilerServices;
using Vmm.Devices.Virtio.Queues;

namespace Vmm.Devices.Virtio.Block;

/// <summary>A request on its way through the store; used again and again, so that requests allocate nothing.</summary>
internal sealed class BlockWork
{
    private readonly VirtioBlock _device;
    private readonly Action _continue;
    private ValueTaskAwaiter _awaiter;

    public BlockWork(VirtioBlock device) => (_device, _continue) = (device, () => _device.Finish(this, TakeResult(), isInline: false));

    public Virtqueue Queue { get; set; } = null!;

    public DescriptorChain Chain { get; set; }

    /// <summary>Bytes that a success puts before the status byte.</summary>
    public uint Answer { get; set; }

    public List<Memory<byte>> Pieces { get; } = [];

    public List<ReadOnlyMemory<byte>> Sources { get; } = [];

    /// <summary>Takes the store's task: finishes at once where that is done, else when it is.</summary>
    public void Await(ValueTask task)
    {
        _awaiter = task.GetAwaiter();
        if (_awaiter.IsCompleted) _device.Finish(this, TakeResult(), isInline: true);
        else _awaiter.UnsafeOnCompleted(_continue);
    }

    private Exception? TakeResult()
    {
        try
        {
            _awaiter.GetResult();
            return null;
        }
        catch (Exception e)
        {
            return e;
        }
        finally
        {
            _awaiter = default;
        }
    }
}
