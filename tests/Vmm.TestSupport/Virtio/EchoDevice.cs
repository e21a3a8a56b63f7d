using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Queues;

namespace Vmm.TestSupport.Virtio;

/// <summary>A virtio device of no use but for tests: it writes back what it reads, at once or when told to. Two queues, 8 bytes of configuration.</summary>
public sealed class EchoDevice(bool holds = false) : VirtioDevice<ulong>(0x3F, 2)
{
    private readonly byte[] _buffer = new byte[1 << 16];

    /// <summary>Chains that wait for <see cref="Release"/>.</summary>
    public List<(Virtqueue Queue, DescriptorChain Chain)> Held { get; } = [];

    public int Calls { get; private set; }

    public int Resets { get; private set; }

    public ulong Value { get; set; } = 0x1122334455667788;

    public override ulong Features => 1;

    protected override ulong Config => Value;

    /// <summary>Answers the chain that was held at an index, from any thread.</summary>
    public void Release(int index = 0)
    {
        var (queue, chain) = Held[index];
        Held.RemoveAt(index);
        queue.CompleteLater(chain, Echo(chain));
    }

    /// <summary>Answers all that were held.</summary>
    public void ReleaseAll()
    {
        for (var count = Held.Count; count > 0; count--) Release();
    }

    public void ChangeConfig(ulong value)
    {
        lock (Gate)
        {
            Value = value;
            NotifyConfigChanged();
        }
    }

    protected override void OnReset() => Resets++;

    protected override void OnQueue(int index, Virtqueue queue)
    {
        Calls++;
        while (queue.TryTake(out var chain))
        {
            if (holds) Held.Add((queue, chain));
            else queue.Complete(chain, Echo(chain));
        }
    }

    private uint Echo(DescriptorChain chain)
    {
        var bytes = _buffer.AsSpan(0, (int)Math.Min(Math.Min(chain.ReadableLength, chain.WritableLength), (ulong)_buffer.Length));
        return chain.TryRead(0, bytes) && chain.TryWrite(0, bytes) ? (uint)bytes.Length : 0;
    }
}
