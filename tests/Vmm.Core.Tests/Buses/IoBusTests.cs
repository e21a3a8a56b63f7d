using FsCheck.Xunit;
using Vmm.Core.Buses;

namespace Vmm.Core.Tests.Buses;

public class IoBusTests
{
    private readonly IoBus _bus = new("port", 1 << 16);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(8)]
    public void Access_InsideAWindow_IsOneCallWithItsOffset(int size)
    {
        var device = new Window();
        _bus.Map(0x100, 0x10, device);
        _bus.Write(0x104, size, 0x1122334455667788);
        var mask = size == 8 ? ulong.MaxValue : (1UL << (8 * size)) - 1;
        Assert.Equal([(4u, size, 0x1122334455667788 & mask)], device.Writes);
        device.Answer = ulong.MaxValue;
        Assert.Equal(mask, _bus.Read(0x104, size));
        Assert.Equal([(4u, size)], device.Reads);
        Assert.Equal(0, _bus.Unclaimed);
    }

    [Fact]
    public void Access_HoldsTheGate()
    {
        var (gate, device) = (new object(), new Window());
        device.OnAccess = () => Assert.True(Monitor.IsEntered(gate));
        _bus.Map(0, 4, device, gate);
        _bus.Read(0, 4);
        _bus.Read(2, 4);
        _bus.Write(0, 4, 0);
        _bus.Write(2, 4, 0);
        Assert.Equal(4, device.Reads.Count + device.Writes.Count - 2);
    }

    [Fact]
    public void Access_OverTheEdge_IsSplitIntoBytes()
    {
        var (a, b) = (new Window { Answer = 0xA1 }, new Window { Answer = 0xB2 });
        _bus.Map(0x10, 2, a);
        _bus.Map(0x12, 1, b);
        _bus.Write(0x11, 4, 0x44332211);
        Assert.Equal([(1u, 1, 0x11UL)], a.Writes);
        Assert.Equal([(0u, 1, 0x22UL)], b.Writes);
        Assert.Equal(0xFFFFB2A1UL, _bus.Read(0x11, 4));
    }

    [Fact]
    public void Access_Unclaimed_ReadsOnesAndCounts()
    {
        Assert.Equal(0xFFUL, _bus.Read(0x80, 1));
        Assert.Equal(0xFFFFUL, _bus.Read(0x80, 2));
        Assert.Equal(ulong.MaxValue, _bus.Read(0x80, 8));
        _bus.Write(0x80, 4, 1);
        Assert.Equal(4, _bus.Unclaimed);
    }

    [Fact]
    public void Access_AtTheTopOfTheSpace_DoesNotWrap()
    {
        var (first, last) = (new Window(), new Window { Answer = 5 });
        _bus.Map(0, 1, first);
        _bus.Map(0xFFFF, 1, last);
        Assert.Equal(0xFFFFFF05UL, _bus.Read(0xFFFF, 4));
        Assert.Empty(first.Reads);
    }

    [Theory]
    [InlineData(0x10UL, 0UL)]
    [InlineData(0xFFFFUL, 2UL)]
    [InlineData(0x10000UL, 1UL)]
    [InlineData(ulong.MaxValue, 2UL)]
    [InlineData(0UL, (1UL << 32) + 1)]
    [InlineData(0x1FUL, 1UL)]
    [InlineData(0x18UL, 0x10UL)]
    [InlineData(0x08UL, 0x20UL)]
    [InlineData(0x22UL, 0x2UL)]
    public void Map_OutsideOrOverlapping_Throws(ulong start, ulong length)
    {
        _bus.Map(0x1F, 8, new Window());
        var e = Assert.Throws<ArgumentException>(() => _bus.Map(start, length, new Window()));
        Assert.Contains("port window", e.Message);
        Assert.Single(_bus.Windows);
    }

    [Fact]
    public void Map_Neighbours_Fit()
    {
        _bus.Map(0x20, 8, new Window());
        _bus.Map(0x18, 8, new Window());
        _bus.Map(0x28, 8, new Window());
        Assert.Equal([(0x18UL, 8UL), (0x20UL, 8UL), (0x28UL, 8UL)], _bus.Windows.Select(w => (w.Start, w.Length)));
    }

    [Fact]
    public void Map_WholeOfFourGib_IsReachable()
    {
        var bus = new IoBus("memory", 1UL << 52);
        var device = new Window();
        bus.Map(1UL << 40, 1UL << 32, device);
        bus.Read((1UL << 40) + 0xFFFF_FFFF, 1);
        Assert.Equal([(0xFFFF_FFFFu, 1)], device.Reads);
    }

    [Fact]
    public void Unmap_FreesTheRange()
    {
        _bus.Map(0x60, 1, new Window());
        Assert.True(_bus.Unmap(0x60));
        Assert.False(_bus.Unmap(0x60));
        Assert.Equal(0xFFUL, _bus.Read(0x60, 1));
        _bus.Map(0x60, 1, new Window());
    }

    [Property(MaxTest = 300)]
    public void Access_AnyWindowsAndAddress_AgreesWithTheModel(byte[] cuts, byte at, byte sizeLog)
    {
        // Windows between sorted cuts, every other one; each byte of the device answers its own low address byte.
        var bus = new IoBus("memory", 1UL << 52);
        var edges = cuts.Select(c => (ulong)c).Distinct().Order().ToArray();
        for (var i = 0; i + 1 < edges.Length; i += 2) bus.Map(edges[i], edges[i + 1] - edges[i], new Echo(edges[i]));
        var size = 1 << (sizeLog % 4);
        ulong expected = 0;
        for (var i = 0; i < size; i++)
        {
            var address = at + (ulong)i;
            var claimed = Enumerable.Range(0, edges.Length / 2).Any(w => address >= edges[2 * w] && address < edges[2 * w + 1]);
            expected |= (claimed ? address & 0xFF : 0xFF) << (8 * i);
        }

        Assert.Equal(expected, bus.Read(at, size));
    }

    [Fact]
    public void Access_HotPath_AllocatesNothing()
    {
        _bus.Map(0x3F8, 8, new Quiet());
        for (var i = 0; i < 100; i++) _bus.Read(0x3FD, 1);
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 100_000; i++)
        {
            _bus.Write(0x3F8, 1, (ulong)i);
            _bus.Read(0x3FD, 1);
            _bus.Read(0x3FF, 2);
        }

        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    private sealed class Quiet : IIoHandler
    {
        public ulong Read(uint offset, int size) => offset;

        public void Write(uint offset, int size, ulong value) { }
    }

    private sealed class Echo(ulong start) : IIoHandler
    {
        public ulong Read(uint offset, int size)
        {
            ulong value = 0;
            for (var i = 0; i < size; i++) value |= (start + offset + (ulong)i & 0xFF) << (8 * i);
            return value;
        }

        public void Write(uint offset, int size, ulong value) { }
    }

    private sealed class Window : IIoHandler
    {
        public ulong Answer { get; set; }

        public Action OnAccess { get; set; } = () => { };

        public List<(uint Offset, int Size)> Reads { get; } = [];

        public List<(uint Offset, int Size, ulong Value)> Writes { get; } = [];

        public ulong Read(uint offset, int size)
        {
            OnAccess();
            Reads.Add((offset, size));
            return Answer;
        }

        public void Write(uint offset, int size, ulong value)
        {
            OnAccess();
            Writes.Add((offset, size, value));
        }
    }
}
