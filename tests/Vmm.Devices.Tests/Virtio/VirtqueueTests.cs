using Vmm.Core.State;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Queues;
using Vmm.TestSupport.Virtio;
using Buffer = Vmm.TestSupport.Virtio.Buffer;
using Vmm.TestSupport;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>Queues of both layouts, from the driver's side.</summary>
public class VirtqueueTests
{
    private const ulong In = VirtioBench.Data, Out = VirtioBench.Data + 0x1000;

    public static TheoryData<bool, bool> Layouts => new() { { false, false }, { false, true }, { true, false }, { true, true } };

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Chain_OfSeveralBuffers_IsAnswered(bool packed, bool eventIndex)
    {
        using var bench = Start(new EchoDevice(), packed, eventIndex);
        bench.Memory.TryWrite(In, "hello, world"u8);
        var id = bench.Driver.Send(0, new Buffer(In, 3), new Buffer(In + 3, 9), new Buffer(Out, 4, true), new Buffer(Out + 0x100, 100, true));
        Assert.True(bench.Driver.Queues[0].TryTakeUsed(out var used, out var written));
        Assert.Equal((id, 12u), (used, written));
        Assert.Equal("hell"u8, bench.Read(Out, 4));
        Assert.Equal("o, world"u8, bench.Read(Out + 0x100, 8));
        Assert.True(bench.Transport.TakeInterrupt(0));
        Assert.Equal(0, bench.Device.Mistakes);
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Chain_Indirect_IsAnswered(bool packed, bool eventIndex)
    {
        using var bench = Start(new EchoDevice(), packed, eventIndex);
        bench.Memory.TryWrite(In, "abcdef"u8);
        bench.Driver.Queues[1].AddIndirect(VirtioBench.Data + 0x8000, new Buffer(In, 2), new Buffer(In + 2, 4), new Buffer(Out, 6, true));
        bench.Transport.Notify(1);
        Assert.True(bench.Driver.Queues[1].TryTakeUsed(out _, out var written));
        Assert.Equal(6u, written);
        Assert.Equal("abcdef"u8, bench.Read(Out, 6));
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Ring_RoundAndRound_KeepsItsPlace(bool packed, bool eventIndex)
    {
        using var bench = Start(new EchoDevice(), packed, eventIndex, size: 4);
        var queue = bench.Driver.Queues[0];
        for (var i = 0; i < 70_000; i++)
        {
            var length = (uint)(i % 3 + 1);
            var id = i % 2 == 0 ? bench.Driver.Send(0, new Buffer(In, length), new Buffer(Out, 8, true)) : bench.Driver.Send(0, new Buffer(In, length), new Buffer(Out, 1, true), new Buffer(Out + 1, 7, true));
            Assert.True(queue.TryTakeUsed(out var used, out var written), $"{i}: {bench.Device.LastFault}");
            Assert.Equal((id, length), (used, written));
            Assert.False(queue.TryTakeUsed(out _, out _));
        }

        Assert.Equal(0, bench.Device.Mistakes);
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Notifications_WhileTheDeviceIsIdle_AreWanted(bool packed, bool eventIndex)
    {
        using var bench = Start(new EchoDevice(), packed, eventIndex, size: 8);
        for (var i = 0; i < 40; i++)
        {
            bench.Driver.Queues[0].Add(new Buffer(In, 1), new Buffer(Out, 1, true));
            Assert.True(bench.Driver.Queues[0].WantsNotification(), $"{i}");
            bench.Transport.Notify(0);
            Assert.True(bench.Driver.Queues[0].TryTakeUsed(out _, out _));
        }
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Interrupts_NotWanted_DoNotCome(bool packed, bool eventIndex)
    {
        using var bench = Start(new EchoDevice(), packed, eventIndex, size: 8);
        for (var i = 0; i < 40; i++)
        {
            bench.Driver.Queues[0].SetInterrupts(i % 2 != 0);
            bench.Driver.Send(0, new Buffer(In, 1), new Buffer(Out, 1, true));
            Assert.Equal(i % 2 != 0, bench.Transport.TakeInterrupt(0));
            Assert.True(bench.Driver.Queues[0].TryTakeUsed(out _, out _));
        }
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Completion_OutOfOrder_ReachesTheRightBuffer(bool packed, bool eventIndex)
    {
        var device = new EchoDevice(holds: true);
        using var bench = Start(device, packed, eventIndex);
        var ids = new[] { Send(bench, 1), Send(bench, 2), Send(bench, 3) };
        device.Release(1);
        device.Release(1);
        device.Release(0);
        var queue = bench.Driver.Queues[0];
        foreach (var i in (int[])[1, 2, 0])
        {
            Assert.True(queue.TryTakeUsed(out var id, out var written));
            Assert.Equal((ids[i], (uint)(i + 1)), (id, written));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Completion_InOrderNegotiated_WaitsForThoseBefore(bool packed)
    {
        var device = new EchoDevice(holds: true);
        using var bench = Start(device, packed, inOrder: true);
        var ids = new[] { Send(bench, 1), Send(bench, 2), Send(bench, 3) };
        device.Release(2);
        device.Release(1);
        var queue = bench.Driver.Queues[0];
        Assert.False(queue.TryTakeUsed(out _, out _));
        device.Release(0);
        for (var i = 0; i < 3; i++)
        {
            Assert.True(queue.TryTakeUsed(out var id, out var written));
            Assert.Equal((ids[i], (uint)(i + 1)), (id, written));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Completion_Twice_CountsOnce(bool packed)
    {
        var device = new EchoDevice(holds: true);
        using var bench = Start(device, packed);
        Send(bench, 1);
        var (queue, chain) = device.Held[0];
        device.Release();
        queue.Complete(chain, 1);
        queue.CompleteLater(chain, 1);
        Assert.False(chain.IsPending);
        Assert.False(chain.TryRead(0, new byte[1]));
        Assert.True(bench.Driver.Queues[0].TryTakeUsed(out _, out _));
        Assert.False(bench.Driver.Queues[0].TryTakeUsed(out _, out _));
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public void Completion_AfterAReset_DoesNotLand(bool packed, bool ofTheQueueOnly)
    {
        var device = new EchoDevice(holds: true);
        using var bench = Start(device, packed);
        Send(bench, 5);
        if (ofTheQueueOnly)
        {
            bench.Transport.SelectQueue(0);
            bench.Transport.ResetQueue();
            Assert.True(bench.Transport.IsQueueResetting);
            bench.Driver.SetUp(0, 16);
        }
        else
        {
            bench.Driver.Start(2, 16);
        }

        var before = bench.Read(VirtioBench.QueueMemory, 0x4000);
        var (_, chain) = device.Held[0];
        Assert.True(chain.IsStale);
        device.Held[0].Queue.Complete(chain, 5);
        device.Held.Clear();
        Assert.False(bench.Driver.Queues[0].TryTakeUsed(out _, out _));
        if (!packed) Assert.Equal(before[..0x3000], bench.Read(VirtioBench.QueueMemory, 0x3000));
        Send(bench, 3);
        device.Release();
        Assert.True(bench.Driver.Queues[0].TryTakeUsed(out _, out var written));
        Assert.Equal(3u, written);
        Assert.Equal(0, device.Mistakes);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Requests_AfterAResetWithChainsOut_WaitUntilTheyAreBack(bool packed)
    {
        var device = new EchoDevice(holds: true);
        using var bench = Start(device, packed);
        Send(bench, 1);
        bench.Driver.Start(2, 16);
        Send(bench, 2);
        Assert.Single(device.Held);
        device.Release();
        Assert.Single(device.Held);
        device.Release();
        Assert.True(bench.Driver.Queues[0].TryTakeUsed(out _, out var written));
        Assert.Equal(2u, written);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public void State_WithChainsInFlight_IsLoadedAndTheyAreServedAgain(bool packed, bool inOrder)
    {
        var device = new EchoDevice(holds: true);
        using var bench = Start(device, packed, inOrder: inOrder);
        bench.Memory.TryWrite(In, "abc"u8);
        var ids = new[] { Send(bench, 1), Send(bench, 2), Send(bench, 3) };
        if (inOrder) device.Release(1);
        var saved = StateWriter.Save(bench.State);

        var twinDevice = new EchoDevice(holds: true);
        using var twin = new VirtioBench(twinDevice, Options(packed, inOrder: inOrder));
        twin.Memory.TryWrite(0, bench.Read(0, (int)VirtioBench.RamLength));
        StateReader.Load("echo", saved, twin.State);
        Assert.Equal(StateWriter.Save(bench.State), StateWriter.Save(twin.State));
        twin.Transport.Notify(0);
        Assert.Equal(inOrder ? 2 : 3, twinDevice.Held.Count);
        while (twinDevice.Held.Count > 0) twinDevice.Release();
        var queue = bench.Driver.Queues[0];
        bench.Memory.TryWrite(0, twin.Read(0, (int)VirtioBench.RamLength));
        List<int> seen = [];
        while (queue.TryTakeUsed(out var id, out _)) seen.Add(id);
        Assert.Equal(ids.Order(), seen.Order());
        Assert.Equal(0, twinDevice.Mistakes);
    }

    [Fact]
    public void Requests_OnBothLayouts_AllocateNothing()
    {
        foreach (var packed in (bool[])[false, true])
        {
            using var bench = Start(new EchoDevice(), packed, size: 16);
            var buffers = new[] { new Buffer(In, 8), new Buffer(Out, 8, true) };
            void Round()
            {
                bench.Driver.Send(0, buffers);
                bench.Driver.Queues[0].TryTakeUsed(out _, out _);
            }

            for (var i = 0; i < 100; i++) Round();
            Assert.Equal(0, Allocations.LeastOf(() => { for (var i = 0; i < 50_000; i++) Round(); }));
        }
    }

    [Fact]
    public void Memory_LentForAChain_IsTheGuestsOwn()
    {
        var device = new EchoDevice(holds: true);
        using var bench = Start(device);
        bench.Driver.Send(0, new Buffer(In, 4), new Buffer(Out, 4, true), new Buffer(VirtioBench.SecondRam + 0x100, 16, true));
        var (queue, chain) = device.Held[0];
        List<Memory<byte>> pieces = [];
        Assert.True(chain.TryLend(writable: true, 2, 10, pieces));
        Assert.Equal([2, 8], pieces.Select(p => p.Length));
        "xy"u8.CopyTo(pieces[0].Span);
        bench.Memory.Remove(bench.SecondRegion);
        pieces[1].Span.Fill(7);
        Assert.Equal("xy"u8, bench.Read(Out + 2, 2));
        Assert.False(chain.TryLend(writable: false, 1, 4, pieces));
        queue.CompleteLater(chain, 12);
        Assert.True(bench.Driver.Queues[0].TryTakeUsed(out _, out var written));
        Assert.Equal(12u, written);
    }

    internal static VirtioOptions Options(bool packed, bool eventIndex = true, bool inOrder = false) => new() { Packed = packed, EventIndex = eventIndex, InOrder = inOrder };

    internal static VirtioBench Start(VirtioDevice device, bool packed = false, bool eventIndex = true, bool inOrder = false, int size = 16)
    {
        var bench = new VirtioBench(device, Options(packed, eventIndex, inOrder));
        bench.Driver.Start(device.Queues.Count, size);
        return bench;
    }

    private static int Send(VirtioBench bench, uint length) => bench.Driver.Send(0, new Buffer(In, length), new Buffer(Out, 16, true));
}
