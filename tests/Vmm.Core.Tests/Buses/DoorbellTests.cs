using Vmm.Core.Buses;
using Vmm.Core.Memory;

namespace Vmm.Core.Tests.Buses;

public class DoorbellTests
{
    private readonly SystemBus _bus = new(new GuestMemory());

    [Fact]
    public void Doorbell_Ring_CallsItsAction()
    {
        var rings = 0;
        var doorbell = new Doorbell(_bus.Mmio, 0x1050, 4, 1, () => rings++);
        doorbell.Ring();
        doorbell.Ring();
        Assert.Equal(2, rings);
    }

    [Theory]
    [InlineData(0x1050UL, 4, 1UL, true)]
    [InlineData(0x1050UL, 4, 2UL, false)]
    [InlineData(0x1050UL, 2, 1UL, false)]
    [InlineData(0x1054UL, 4, 1UL, false)]
    public void Doorbell_WithValue_MatchesThatWriteOnly(ulong address, int size, ulong value, bool expected)
    {
        var doorbell = new Doorbell(_bus.Mmio, 0x1050, 4, 1, static () => { });
        Assert.Equal(expected, doorbell.Matches(_bus.Mmio, address, size, value));
        Assert.False(doorbell.Matches(_bus.Ports, address, size, value));
    }

    [Fact]
    public void Doorbell_WithoutValue_MatchesAnyValue()
    {
        var doorbell = new Doorbell(_bus.Ports, 0x500, 2, null, static () => { });
        Assert.True(doorbell.Matches(_bus.Ports, 0x500, 2, 0));
        Assert.True(doorbell.Matches(_bus.Ports, 0x500, 2, 0xFFFF));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(16)]
    public void Doorbell_OfOddSize_IsRefused(int size) => Assert.Throws<ArgumentOutOfRangeException>(() => new Doorbell(_bus.Mmio, 0, size, null, static () => { }));

    [Fact]
    public void Doorbells_AddedAndRemoved_AreListedAndTold()
    {
        List<string> told = [];
        _bus.DoorbellAdded += d => told.Add($"+{d.Value}");
        _bus.DoorbellRemoved += d => told.Add($"-{d.Value}");
        Doorbell first = new(_bus.Mmio, 0x1050, 4, 0, static () => { }), second = new(_bus.Mmio, 0x1050, 4, 1, static () => { });
        _bus.AddDoorbell(first);
        _bus.AddDoorbell(second);
        Assert.Equal([first, second], _bus.Doorbells);
        Assert.True(_bus.RemoveDoorbell(first));
        Assert.False(_bus.RemoveDoorbell(first));
        Assert.Equal([second], _bus.Doorbells);
        Assert.Equal(["+0", "+1", "-0"], told);
    }

    [Theory]
    [InlineData(null)]
    [InlineData(0UL)]
    public void Doorbell_ForAWriteThatOneAnswers_IsRefused(ulong? value)
    {
        _bus.AddDoorbell(new Doorbell(_bus.Mmio, 0x1050, 4, 0, static () => { }));
        Assert.Contains("same write", Assert.Throws<ArgumentException>(() => _bus.AddDoorbell(new Doorbell(_bus.Mmio, 0x1050, 4, value, static () => { }))).Message);
        _bus.AddDoorbell(new Doorbell(_bus.Mmio, 0x1050, 2, value, static () => { }));
    }

    [Fact]
    public void Doorbell_OfAnotherMachine_IsRefused() =>
        Assert.Throws<ArgumentException>(() => _bus.AddDoorbell(new Doorbell(new SystemBus(new GuestMemory()).Mmio, 0, 4, null, static () => { })));

    [Fact]
    public void Doorbell_WithoutABackendThatServesIt_LeavesTheWriteToTheWindow()
    {
        var rings = 0;
        _bus.Mmio.Map(0x1000, 0x100, new Window(() => rings++));
        _bus.AddDoorbell(new Doorbell(_bus.Mmio, 0x1050, 4, 0, () => rings += 100));
        _bus.WriteMmio(0x1050, [0, 0, 0, 0]);
        Assert.Equal(1, rings);
    }

    private sealed class Window(Action written) : IIoHandler
    {
        public ulong Read(uint offset, int size) => 0;

        public void Write(uint offset, int size, ulong value) => written();
    }
}
