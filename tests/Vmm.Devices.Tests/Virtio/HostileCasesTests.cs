using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Rng;
using Vmm.TestSupport.Virtio;
using Buffer = Vmm.TestSupport.Virtio.Buffer;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>One test for each case of the list of known attacks that concerns virtqueues; the number is the case's. Cases 5, 16, 17, 18, 19 and 22 are also in TransportTests.</summary>
public class HostileCasesTests
{
    private const ushort Next = 1, Write = 2, Indirect = 4;
    private const int Size = 16;
    private const ulong Table = VirtioBench.QueueMemory, DriverArea = Table + DriverQueue.DriverOffset, DeviceArea = Table + DriverQueue.DeviceOffset, Data = VirtioBench.Data, Beyond = VirtioBench.Data + 0x4000;

    [Fact]
    public void Case01_DescriptorLoops_AreFound()
    {
        Breaks("longer than the queue", (0, Data, 4, Next, 0));
        Breaks("longer than the queue", (0, Data, 4, Next, 1), (1, Data, 4, Next, 0));
        Breaks("longer than the queue", [.. Enumerable.Range(0, Size).Select(i => (i, Data, 4u, Next, (ushort)((i + 1) % Size)))]);
    }

    [Fact]
    public void Case02_ZeroLengthDescriptors_AreNothing()
    {
        using var bench = VirtqueueTests.Start(new EchoDevice(), size: 256);
        for (var i = 0; i < 256; i++) bench.Driver.Queues[0].WriteDescriptor(Table + (ulong)i * 16, Data, 0, i < 255 ? Next : (ushort)0, (ushort)(i + 1));
        ((SplitDriverQueue)bench.Driver.Queues[0]).Offer(0);
        bench.Transport.Notify(0);
        Assert.True(bench.Driver.Queues[0].TryTakeUsed(out _, out var written));
        Assert.Equal(0u, written);
        Assert.False(bench.IsBroken);
    }

    [Theory]
    [InlineData(Size + 1)]
    [InlineData(-1)]
    [InlineData(0xFFFF)]
    [InlineData(0x8000)]
    public void Case03_AvailableIndexJumps_BreakTheDevice(int jump)
    {
        using var bench = VirtqueueTests.Start(new EchoDevice(), size: Size);
        bench.Memory.TryWrite(DriverArea + 2, (ushort)jump);
        for (var i = 0; i < 100; i++) bench.Transport.Notify(0);
        Assert.True(bench.IsBroken);
        Assert.Contains("ahead", bench.Device.LastFault, StringComparison.Ordinal);
        Assert.True(bench.Transport.TakeInterrupt(null));
    }

    [Fact]
    public void Case04_IndicesOutsideTheTable_BreakTheDevice()
    {
        foreach (var head in (int[])[Size, Size + 1, 0x7FFF, 0xFFFF])
        {
            using var bench = VirtqueueTests.Start(new EchoDevice(), size: Size);
            ((SplitDriverQueue)bench.Driver.Queues[0]).Offer(head);
            bench.Transport.Notify(0);
            Assert.Contains("head", bench.Device.LastFault, StringComparison.Ordinal);
        }

        Breaks("next", (0, Data, 4, Next, Size));
        Breaks("next", (0, Data, 4, Next, 0xFFFF));
    }

    [Theory]
    [InlineData(0u, false)]
    [InlineData(3u, false)]
    [InlineData(12u, false)]
    [InlineData(257u, false)]
    [InlineData(0xFFFFu, false)]
    [InlineData(12u, true)]
    [InlineData(0u, true)]
    public void Case05_QueueSizes_ThatAreNone_AreNotEnabled(uint size, bool packed)
    {
        using var bench = new VirtioBench(new EchoDevice(), VirtqueueTests.Options(packed));
        bench.Driver.Negotiate();
        bench.Transport.SelectQueue(0);
        bench.Transport.SetQueueSize(1);
        bench.Transport.SetQueueSize(size);
        bench.Transport.SetQueueAreas(Table, DriverArea, DeviceArea);
        bench.Transport.EnableQueue();
        bench.Transport.Status |= VirtioStatus.DriverOk;
        bench.Transport.Notify(0);
        if (size <= 256) Assert.Equal(packed && size != 0, bench.Transport.IsQueueReady);
        Assert.True(bench.Device.Mistakes > 0 || (packed && size != 0));
    }

    [Theory]
    [InlineData(Table + 8, DriverArea, DeviceArea)]
    [InlineData(Table, DriverArea + 1, DeviceArea)]
    [InlineData(Table, DriverArea, DeviceArea + 2)]
    [InlineData(VirtioBench.RamLength - 16, DriverArea, DeviceArea)]
    [InlineData(VirtioBench.Hole, DriverArea, DeviceArea)]
    [InlineData(Table, VirtioBench.Window, DeviceArea)]
    [InlineData(Table, DriverArea, VirtioBench.Rom)]
    [InlineData(0xFFFF_FFFF_FFFF_FFF0, DriverArea, DeviceArea)]
    [InlineData(Table, 0xFFFF_FFFF_FFFF_FFFE, DeviceArea)]
    [InlineData(Table, DriverArea, 0xFFFF_FFFF_FFFF_FFFC)]
    public void Case07_QueueAreas_OutsideRamOrMisaligned_BreakTheDevice(ulong descriptors, ulong driver, ulong device)
    {
        using var bench = new VirtioBench(new EchoDevice());
        bench.Driver.Negotiate();
        bench.Transport.SelectQueue(0);
        bench.Transport.SetQueueSize(Size);
        bench.Transport.SetQueueAreas(descriptors, driver, device);
        bench.Transport.EnableQueue();
        Assert.False(bench.Transport.IsQueueReady);
        Assert.True((bench.Transport.Status & VirtioStatus.NeedsReset) != 0);
        bench.Driver.Start(2, Size);
        Assert.False(bench.IsBroken);
    }

    [Theory]
    [InlineData(0xFFFF_FFFF_FFFF_FFFF, 4u)]
    [InlineData(0xFFFF_FFFF_FFFF_FFF0, 0xFFFF_FFFFu)]
    [InlineData(Data, 0xFFFF_FFFFu)]
    [InlineData(VirtioBench.RamLength - 2, 4u)]
    [InlineData(VirtioBench.Window, 4u)]
    [InlineData(VirtioBench.Window + 0x50, 4u)]
    [InlineData(VirtioBench.Hole, 1u)]
    [InlineData(VirtioBench.SecondRam - 1, 2u)]
    public void Case08_Buffers_ThatAreNotMemory_BreakTheDevice(ulong address, uint length)
    {
        Breaks("buffer", (0, address, length, 0, 0));
        Breaks("buffer", (0, address, length, Write, 0));
    }

    [Fact]
    public void Case08_Buffer_InRom_IsReadButNotWritten()
    {
        Breaks("RAM", (0, VirtioBench.Rom, 4, Write, 0));
        using var bench = VirtqueueTests.Start(new EchoDevice(), size: Size);
        bench.Driver.Send(0, new Buffer(VirtioBench.Rom, 4), new Buffer(Data, 4, true));
        Assert.True(bench.Driver.Queues[0].TryTakeUsed(out _, out _));
    }

    [Fact]
    public void Case09_IndirectTables_ThatAreWrong_BreakTheDevice()
    {
        Breaks("whole number", (0, Beyond, 0, Indirect, 0));
        Breaks("whole number", (0, Beyond, 17, Indirect, 0));
        Breaks("too long", (0, Beyond, 0xFFFF_FFF0, Indirect, 0));
        Breaks("next one", (0, Beyond, 16, Indirect | Next, 1));
        Breaks("not in memory", (0, VirtioBench.Window, 16, Indirect, 0));
        Breaks("too long", (0, ulong.MaxValue - 15, 32, Indirect, 0));

        // Entries of the table, which is at descriptors 8 and on of the queue's own.
        Breaks("in an indirect table", (0, Table + 8 * 16, 32, Indirect, 0), (8, Beyond, 16, Indirect, 0));
        Breaks("longer than the table", (0, Table + 8 * 16, 32, Indirect, 0), (8, Data, 4, Next, 1), (9, Data, 4, Next, 0));
        Breaks("not in the indirect table", (0, Table + 8 * 16, 32, Indirect, 0), (8, Data, 4, Next, 2));
    }

    [Fact]
    public void Case10_ReadableAfterWritable_BreaksTheDevice() => Breaks("after a writable", (0, Data, 4, Write | Next, 1), (1, Data, 4, 0, 0));

    [Fact]
    public async Task Case11_DescriptorsChangedMeanwhile_AreReadOnce()
    {
        using var bench = VirtqueueTests.Start(new EchoDevice(), size: Size);
        using var done = new CancellationTokenSource();
        var flipper = Task.Run(() =>
        {
            for (uint i = 0; !done.IsCancellationRequested; i++)
            {
                bench.Memory.TryWrite(Table + 8, (i & 1) != 0 ? 0xFFFF_FFF0u : 8);
                bench.Memory.TryWrite(Table, (i & 2) != 0 ? VirtioBench.Window : Data);
            }
        });
        for (var i = 0; i < 20_000; i++)
        {
            bench.Driver.Queues[0].WriteDescriptor(Table + 16, Data + 0x1000, 8, Write, 0);
            bench.Memory.TryWrite(Table + 12, 1u << 16 | Next);
            ((SplitDriverQueue)bench.Driver.Queues[0]).Offer(0);
            bench.Transport.Notify(0);
            if (bench.IsBroken) bench.Driver.Start(2, Size);
            else Assert.True(bench.Driver.Queues[0].TryTakeUsed(out _, out var written) && written <= 8);
        }

        await done.CancelAsync();
        await flipper;
    }

    [Fact]
    public void Case12_ChainsWithoutCompletion_AreAtMostTheQueuesSize()
    {
        var device = new EchoDevice(holds: true);
        using var bench = VirtqueueTests.Start(device, size: Size);
        var queue = (SplitDriverQueue)bench.Driver.Queues[0];
        queue.WriteDescriptor(Table, Data, 4, 0, 0);
        for (var i = 0; i < 100; i++)
        {
            queue.Offer(0);
            bench.Transport.Notify(0);
        }

        Assert.Equal(Size, device.Held.Count);
        Assert.True(bench.IsBroken);
        bench.Driver.Start(2, Size);
        while (device.Held.Count > 0) device.Release();
        Assert.False(bench.IsBroken);
    }

    [Theory]
    [InlineData(VirtioTransportKind.Mmio)]
    [InlineData(VirtioTransportKind.Pci)]
    public void Case13_Notifications_ForNothing_AreCounted(VirtioTransportKind kind)
    {
        var device = new EchoDevice();
        using var bench = new VirtioBench(device, new VirtioOptions { Transport = kind });
        bench.Transport.Notify(0);
        bench.Driver.Negotiate();
        bench.Transport.Notify(1);
        bench.Driver.Start(1, Size);
        bench.Transport.Notify(1);
        bench.Transport.Status = VirtioStatus.None;
        bench.Transport.Notify(0);
        Assert.Equal(4, device.Mistakes);
        Assert.Equal(1, device.Calls); // the look at DRIVER_OK
        if (kind == VirtioTransportKind.Mmio) foreach (var index in (uint[])[2, 0xFFFF, 0x10000, uint.MaxValue]) bench.Transport.Notify(index);
        Assert.False(bench.IsBroken);
    }

    [Fact]
    public void Case14_RingsOverEachOther_HarmTheGuestOnly()
    {
        using var bench = new VirtioBench(new EchoDevice());
        foreach (var (driver, device) in ((ulong, ulong)[])[(DriverArea, DriverArea), (Table, Table), (DriverArea, Table)])
        {
            bench.Driver.Negotiate();
            bench.Memory.TryFill(Table, DriverQueue.AreaStride, 0);
            bench.Transport.SelectQueue(0);
            bench.Transport.SetQueueSize(Size);
            bench.Transport.SetQueueAreas(Table, driver, device);
            bench.Transport.EnableQueue();
            bench.Transport.Status |= VirtioStatus.DriverOk;
            for (ushort i = 0; i < 1000; i++)
            {
                bench.Memory.TryWrite(driver + 2, i);
                bench.Transport.Notify(0);
            }
        }

        bench.Driver.Start(2, Size);
        Assert.False(bench.IsBroken);
    }

    [Theory]
    [InlineData(0, 8)]
    [InlineData(1, 8)]
    [InlineData(0, 0)]
    public void Case15_PackedRing_ThatLies_DoesNoHarm(int lie, int position)
    {
        using var bench = VirtqueueTests.Start(new EchoDevice(), packed: true, size: Size);
        var queue = bench.Driver.Queues[0];
        for (var i = 0; i < position; i++) bench.Driver.Send(0, new Buffer(Data, 4));
        var at = Table + (ulong)position * 16;
        bench.Memory.TryWrite(at, Data);

        // A list without an end; then an id that is no descriptor's, with events at a place that does not exist.
        ushort flags = lie == 0 ? (ushort)(0x80 | Next) : (ushort)0x80;
        for (var i = 0; i < Size; i++)
        {
            bench.Memory.TryWrite(Table + (ulong)i * 16, Data);
            bench.Memory.TryWrite(Table + (ulong)i * 16 + 8, 4 | 0xFFFFUL << 32 | (ulong)flags << 48);
        }

        bench.Memory.TryWrite(queue.Driver, 0x0002_FFFFu);
        for (var i = 0; i < 100; i++) bench.Transport.Notify(0);
        Assert.Equal(lie == 0, bench.IsBroken);
        bench.Driver.Start(2, Size);
        Assert.False(bench.IsBroken);
    }

    [Fact]
    public void Case15_PackedIndirect_ThatIsWrong_BreaksTheDevice()
    {
        foreach (var (address, length, flags) in ((ulong, uint, ushort)[])[(Beyond, 0, Indirect), (Beyond, 24, Indirect), (Beyond, 0xFFFF_FFF0, Indirect), (Beyond, 16, Indirect | Next), (VirtioBench.Window, 16, Indirect), (ulong.MaxValue - 15, 16, Indirect)])
        {
            using var bench = VirtqueueTests.Start(new EchoDevice(), packed: true, size: Size);
            bench.Memory.TryWrite(Table, address);
            bench.Memory.TryWrite(Table + 8, length | (ulong)(flags | 0x80) << 48);
            bench.Transport.Notify(0);
            Assert.True(bench.IsBroken);
        }
    }

    [Fact]
    public void Case19_MessageTable_AccessedOddly_StaysItself()
    {
        using var bench = new VirtioBench(new EchoDevice(), new VirtioOptions { Transport = VirtioTransportKind.Pci });
        var pci = (PciDriverTransport)bench.Transport;
        foreach (var size in (int[])[1, 2, 4, 8])
        {
            for (ulong offset = 0; offset <= 0x1000 - (ulong)size; offset += 3)
            {
                bench.Bus.Mmio.Read(pci.BarAt(1) + offset, size);
                bench.Bus.Mmio.Write(pci.BarAt(1) + offset, size, ulong.MaxValue);
            }
        }

        Assert.Equal(0u, bench.Bus.Mmio.Read(pci.BarAt(1) + 3 * 16, 8));
        bench.Reset();
        bench.Find();
        bench.Driver.Start(2, Size);
        bench.Driver.Send(0, new Buffer(Data, 4), new Buffer(Data, 4, true));
        Assert.True(bench.Transport.TakeInterrupt(0));
    }

    [Fact]
    public void Case66_EntropyRequests_AreCapped()
    {
        var asked = 0L;
        using var bench = VirtqueueTests.Start(new VirtioRng(bytes => asked += bytes.Length), size: Size);
        bench.Driver.Send(0, [.. Enumerable.Range(0, 16).Select(_ => new Buffer(0, 0xF_0000, true))]);
        Assert.True(bench.Driver.Queues[0].TryTakeUsed(out _, out var written));
        Assert.Equal(VirtioRng.RequestBytes, (int)written);
        Assert.Equal(VirtioRng.RequestBytes, asked);
        bench.Driver.Send(0, new Buffer(Data, 16));
        Assert.True(bench.Driver.Queues[0].TryTakeUsed(out _, out written));
        Assert.Equal(0u, written);
    }

    private static void Breaks(string why, params (int Index, ulong Address, uint Length, ushort Flags, ushort Next)[] descriptors)
    {
        using var bench = VirtqueueTests.Start(new EchoDevice(), size: Size);
        foreach (var (index, address, length, flags, next) in descriptors) bench.Driver.Queues[0].WriteDescriptor(Table + (ulong)index * 16, address, length, flags, next);
        ((SplitDriverQueue)bench.Driver.Queues[0]).Offer(0);
        bench.Transport.Notify(0);
        Assert.True(bench.IsBroken, why);
        Assert.Contains(why, bench.Device.LastFault, StringComparison.Ordinal);
        Assert.False(bench.Driver.Queues[0].TryTakeUsed(out _, out _));
        Assert.True(bench.Transport.TakeInterrupt(null));
        bench.Driver.Start(2, Size);
        bench.Driver.Send(0, new Buffer(Data, 4), new Buffer(Data, 4, true));
        Assert.True(bench.Driver.Queues[0].TryTakeUsed(out _, out _));
    }
}
