// Virtio 1.3, 5.4 "Entropy Device".
using System.Security.Cryptography;
using Vmm.Devices.Virtio.Queues;

namespace Vmm.Devices.Virtio.Rng;

/// <summary>Random bytes for the guest. However large its buffers are, a request is answered with <see cref="RequestBytes"/> at most.</summary>
/// <param name="fill">Fills a span with random bytes; null for the operating system's generator. Runs under the device's lock.</param>
public sealed class VirtioRng(VirtioRng.FillBytes? fill = null) : VirtioDevice(Id, 1)
{
    /// <summary>Its virtio device id.</summary>
    public const ushort Id = 4;

    /// <summary>The most bytes that one request gets: a driver asks again for more.</summary>
    public const int RequestBytes = 4096;

    private readonly FillBytes _fill = fill ?? RandomNumberGenerator.Fill;
    private readonly byte[] _bytes = new byte[RequestBytes];

    /// <summary>A source of random bytes.</summary>
    /// <param name="bytes">All of it is to be filled.</param>
    public delegate void FillBytes(Span<byte> bytes);

    /// <inheritdoc/>
    public override string Name => "virtio-rng";

    /// <inheritdoc/>
    protected override void OnQueue(int index, Virtqueue queue)
    {
        while (queue.TryTake(out var chain))
        {
            var bytes = _bytes.AsSpan(0, (int)Math.Min(chain.WritableLength, RequestBytes));
            _fill(bytes);
            chain.TryWrite(0, bytes);
            queue.Complete(chain, (uint)bytes.Length);
        }
    }
}
