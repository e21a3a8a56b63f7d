using Vmm.Core.State;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Queues;
using Vmm.TestSupport.Virtio;
using Buffer = Vmm.TestSupport.Virtio.Buffer;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>The device of docs/writing-a-virtio-device.md, word for word, and what the page says of it.</summary>
public class VirtioDiceTests
{
    [Theory]
    [InlineData(VirtioTransportKind.Mmio, false)]
    [InlineData(VirtioTransportKind.Mmio, true)]
    [InlineData(VirtioTransportKind.Pci, false)]
    [InlineData(VirtioTransportKind.Pci, true)]
    public void Dice_WithThePagesDriver_AreThrown(VirtioTransportKind transport, bool packed)
    {
        using var bench = new VirtioBench(new VirtioDice(sides => sides - 1), new VirtioOptions { Transport = transport, Packed = packed });
        bench.Driver.Start(queues: 1, size: 16);
        bench.Memory.TryWrite<byte>(VirtioBench.Data, 6);
        bench.Driver.Send(0, new Buffer(VirtioBench.Data, 1), new Buffer(VirtioBench.Data + 0x100, 3, Writable: true));
        Assert.True(bench.Driver.Queues[0].TryTakeUsed(out _, out var written));
        Assert.Equal([6, 6, 6], bench.Read(VirtioBench.Data + 0x100, (int)written));
        Assert.Equal(3u, bench.Transport.ReadConfig(0, 4));
    }

    [Fact]
    public void Dice_UnderAttack_Survive() => HostileDriver.Attack(() => new VirtioDice(sides => 0));

    private sealed class VirtioDice(Func<int, int> roll) : VirtioDevice<DiceConfig>(deviceId: 0x3F, queueCount: 1)
    {
        /// <summary>The most throws that one request gets: the guest decides how much room there is, not how much work that is.</summary>
        public const int MaximumThrows = 1024;

        private ulong _thrown;

        public override ulong Features => 0;

        protected override DiceConfig Config => new(_thrown);

        protected override void OnQueue(int index, Virtqueue queue)
        {
            Span<byte> throws = stackalloc byte[MaximumThrows];
            while (queue.TryTake(out var chain))
            {
                var count = (int)Math.Min(chain.WritableLength, MaximumThrows);
                if (!chain.TryRead(0, out byte sides) || sides == 0) count = 0;
                for (var i = 0; i < count; i++) throws[i] = (byte)(1 + roll(sides));
                chain.TryWrite(0, throws[..count]);
                _thrown += (uint)count;
                queue.Complete(chain, (uint)count);
            }
        }

        protected override void OnReset() => _thrown = 0;

        protected override void VisitFields(StateVisitor visitor) => visitor.Field(1, ref _thrown);
    }

    public readonly record struct DiceConfig(ulong Thrown);
}
