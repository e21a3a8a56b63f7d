using Vmm.Core.Buses;
using Vmm.Core.Memory;

namespace Vmm.Core.Tests.Buses;

public class SystemBusTests
{
    private readonly SystemBus _bus = new(new GuestMemory());
    private readonly Recorder _device = new();

    public SystemBusTests() => _bus.Mmio.Map(0x1000, 0x100, _device);

    [Theory]
    [InlineData(1, new[] { 1 })]
    [InlineData(2, new[] { 2 })]
    [InlineData(3, new[] { 2, 1 })]
    [InlineData(4, new[] { 4 })]
    [InlineData(5, new[] { 4, 1 })]
    [InlineData(6, new[] { 4, 2 })]
    [InlineData(7, new[] { 4, 2, 1 })]
    [InlineData(8, new[] { 8 })]
    [InlineData(10, new[] { 8, 2 })]
    [InlineData(12, new[] { 8, 4 })]
    [InlineData(15, new[] { 8, 4, 2, 1 })]
    [InlineData(16, new[] { 8, 8 })]
    public void Mmio_EachLength_ReachesTheDeviceInPieces(int length, int[] sizes)
    {
        var data = Enumerable.Range(1, length).Select(i => (byte)i).ToArray();
        _bus.WriteMmio(0x1010, data);
        Assert.Equal(sizes, _device.Sizes);
        Assert.Equal(data, _device.Bytes[0x10..(0x10 + length)]);
        var read = new byte[length];
        _device.Sizes.Clear();
        _bus.ReadMmio(0x1010, read);
        Assert.Equal(data, read);
        Assert.Equal(sizes, _device.Sizes);
    }

    [Fact]
    public void Mmio_OverTheEnd_ReadsOnesThere()
    {
        _device.Bytes.AsSpan().Fill(7);
        var read = new byte[16];
        _bus.ReadMmio(0x10F8, read);
        Assert.Equal([7, 7, 7, 7, 7, 7, 7, 7, 255, 255, 255, 255, 255, 255, 255, 255], read);
        Assert.Equal(1, _bus.Mmio.Unclaimed);
    }

    [Fact]
    public void Interrupts_WithoutAController_AreHarmless()
    {
        Assert.Equal(0xFF, _bus.AcknowledgeExternalInterrupt());
        _bus.EndOfInterrupt(0x30);
    }

    [Fact]
    public void Interrupts_WithAController_ReachIt()
    {
        byte ended = 0;
        _bus.ExternalInterruptController = () => 0x21;
        _bus.EndOfInterruptListener = v => ended = v;
        Assert.Equal(0x21, _bus.AcknowledgeExternalInterrupt());
        _bus.EndOfInterrupt(0x44);
        Assert.Equal(0x44, ended);
    }

    [Fact]
    public void InterruptLine_TellsOnlyChanges()
    {
        var sink = new Sink();
        var line = new InterruptLine(sink, 5);
        line.Level = false;
        line.Level = true;
        line.Level = true;
        line.Level = false;
        line.Pulse();
        Assert.Equal([(5, true), (5, false), (5, true), (5, false)], sink.Changes);
        InterruptLine.Unconnected.Level = true;
        Assert.False(InterruptLine.Unconnected.Level);
    }

    private sealed class Sink : IInterruptSink
    {
        public List<(int, bool)> Changes { get; } = [];

        public void SetInput(int input, bool level) => Changes.Add((input, level));
    }

    private sealed class Recorder : IIoHandler
    {
        public byte[] Bytes { get; } = new byte[0x100];

        public List<int> Sizes { get; } = [];

        public ulong Read(uint offset, int size)
        {
            Sizes.Add(size);
            ulong value = 0;
            for (var i = 0; i < size; i++) value |= (ulong)Bytes[offset + i] << (8 * i);
            return value;
        }

        public void Write(uint offset, int size, ulong value)
        {
            Sizes.Add(size);
            for (var i = 0; i < size; i++) Bytes[offset + i] = (byte)(value >> (8 * i));
        }
    }
}
