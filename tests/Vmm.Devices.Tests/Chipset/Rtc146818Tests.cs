using FsCheck.Xunit;
using Vmm.Devices.Chipset;
using Vmm.Devices.Tests.Support;

namespace Vmm.Devices.Tests.Chipset;

public class Rtc146818Tests
{
    private const long Second = 1_000_000_000;

    private readonly Bench _bench = new();

    public Rtc146818Tests() => _bench.Plug(new Rtc146818(_bench.Clock, _bench.Wire.Line()), 0x70, 2);

    private int Rises => _bench.Wire.Rises[0];

    [Fact]
    public void Calendar_InBcd_IsTheMachinesUtc()
    {
        _bench.Pass(34 * Second); // 15:10:00
        Assert.Equal([0x00, 0x10, 0x15, 0x07, 0x14, 0x03, 0x26, 0x20], (byte[])[Get(0), Get(2), Get(4), Get(6), Get(7), Get(8), Get(9), Get(0x32)]);
    }

    [Fact]
    public void Calendar_InBinaryAnd12Hours_ShowsTheAfternoon()
    {
        Set(0x0B, 0x04);
        Assert.Equal(26, Get(0));
        Assert.Equal(0x80 | 3, Get(4));
        Assert.Equal(26, Get(9));
    }

    [Theory]
    [InlineData(0x12, 0)]
    [InlineData(0x92, 12)]
    [InlineData(0x01, 1)]
    [InlineData(0x91, 23)]
    public void Hour_SetIn12Hours_ReadsIn24(byte hour, int expected)
    {
        Set(0x0B, 0x80);
        Set(4, hour);
        Set(0x0B, 0x00);
        Set(0x0B, 0x06);
        Assert.Equal(expected, Get(4));
    }

    [Fact]
    public void Calendar_SetUnderTheSetBit_RunsOnFromThere()
    {
        Set(0x0B, 0x86);
        foreach (var (index, value) in ((byte, byte)[])[(0, 58), (2, 59), (4, 23), (7, 31), (8, 12), (9, 99), (0x32, 19)]) Set(index, value);
        _bench.Pass(10 * Second);
        Assert.Equal(58, Get(0));
        Set(0x0B, 0x06);
        _bench.Pass(2 * Second);
        Assert.Equal([0, 0, 0, 1, 1, 0, 20], (byte[])[Get(0), Get(2), Get(4), Get(7), Get(8), Get(9), Get(0x32)]);
    }

    [Property(MaxTest = 200)]
    public void Calendar_SetToAnything_BecomesOneThatExists(byte second, byte minute, byte hour, byte day, byte month, byte year, byte century, byte mode)
    {
        Set(0x0B, (byte)(0x80 | mode & 6));
        foreach (var (index, value) in ((byte, byte)[])[(0, second), (2, minute), (4, hour), (7, day), (8, month), (9, year), (0x32, century)]) Set(index, value);
        Set(0x0B, (byte)(mode & 6));
        Set(0x0B, 0x06);
        Assert.InRange(Get(0), 0, 59);
        Assert.InRange(Get(2), 0, 59);
        Assert.InRange(Get(4), 0, 23);
        Assert.InRange(Get(7), 1, 31);
        Assert.InRange(Get(8), 1, 12);
        Assert.InRange(Get(9), 0, 99);
        _bench.Pass(3 * Second);
    }

    [Fact]
    public void UpdateInProgress_JustBeforeTheSecond_IsShown()
    {
        _bench.Pass(Second - 3_000_000);
        Assert.Equal(0x26, Get(0x0A));
        _bench.Pass(1_000_000);
        Assert.Equal(0xA6, Get(0x0A));
        _bench.Pass(2_000_000);
        Assert.Equal(0x26, Get(0x0A));
    }

    [Fact]
    public void UpdateInterrupt_EachSecond_ComesWhenTheLastWasRead()
    {
        Get(0x0C);
        Set(0x0B, 0x12);
        _bench.Pass(5 * Second);
        Assert.Equal(1, Rises);
        for (var i = 0; i < 5; i++)
        {
            Assert.Equal(0x90, Get(0x0C) & 0x90);
            _bench.Pass(Second);
        }

        Assert.Equal(6, Rises);
    }

    [Fact]
    public void PeriodicInterrupt_At1024Hz_ComesExactlySoOften()
    {
        Set(0x0B, 0x42);
        _bench.Wire.Changed = null;
        var count = 0;
        for (var i = 0; i < 100_000; i++)
        {
            _bench.Pass(100_000);
            if (_bench.Wire.Levels[0])
            {
                count++;
                Assert.Equal(0xC0, Get(0x0C) & 0xC0);
            }
        }

        Assert.Equal(10 * 1024, count);
    }

    [Fact]
    public void PeriodicInterrupt_NotAcknowledged_ComesOnce()
    {
        Set(0x0A, 0x23); // 8192 Hz
        Set(0x0B, 0x42);
        _bench.Pass(10 * Second);
        Assert.Equal(1, Rises);
        Assert.Equal(long.MaxValue, _bench.Clock.NextDeadline);
    }

    [Fact]
    public void Periodic_WithRateZero_NeverComes()
    {
        Set(0x0A, 0x20);
        Set(0x0B, 0x42);
        _bench.Pass(10 * Second);
        Assert.Equal(0, Rises);
        Assert.Equal(0, Get(0x0C) & 0x40);
    }

    [Theory]
    [InlineData(0x15, 0x10, 0x05, 39)]
    [InlineData(0xFF, 0x11, 0x00, 94)]
    [InlineData(0xFF, 0xFF, 0x30, 4)]
    [InlineData(0x15, 0x09, 0x26, 86_400)]
    public void Alarm_WithWildcards_ComesAtTheNextMatch(byte hour, byte minute, byte second, int after)
    {
        Set(5, hour);
        Set(3, minute);
        Set(1, second);
        Get(0x0C);
        Set(0x0B, 0x22);
        _bench.Pass(after * Second - 1);
        Assert.Equal(0, Rises);
        _bench.Pass(1);
        Assert.Equal(1, Rises);
        Assert.Equal(0xA0, Get(0x0C) & 0xA0);
    }

    [Fact]
    public void Alarm_OfATimeThatDoesNotExist_NeverComes()
    {
        Set(5, 0x77);
        Set(0x0B, 0x22);
        _bench.Pass(200_000 * Second);
        Assert.Equal(0, Rises);
    }

    [Fact]
    public void Flags_WithoutInterruptEnabled_AreStillPolled()
    {
        Get(0x0C);
        _bench.Pass(Second);
        Assert.Equal(0x50, Get(0x0C) & 0x50);
        Assert.Equal(0, Get(0x0C));
        Assert.Equal(0, Rises);
    }

    [Fact]
    public void Index_Above127_WrapsIntoTheMemory()
    {
        for (var index = 0x40; index < 0x100; index++) Set((byte)index, 0x5A);
        for (var index = 0; index < 0x100; index++) Get((byte)index);
        Assert.Equal(0x5A, Get(0xFF));
        Assert.Equal(Get(0x7F), Get(0xFF));
    }

    [Fact]
    public void DividerReset_Released_TicksAfterHalfASecond()
    {
        Set(0x0A, 0x66);
        _bench.Pass(7 * Second);
        var stopped = Get(0);
        Set(0x0A, 0x26);
        _bench.Pass(Second / 2 - 1);
        Assert.Equal(stopped, Get(0));
        _bench.Pass(1);
        Assert.NotEqual(stopped, Get(0));
    }

    [Fact]
    public void EndOfTime_Reached_WrapsAndGoesOn()
    {
        Set(0x0B, 0x86);
        foreach (var (index, value) in ((byte, byte)[])[(0, 59), (2, 59), (4, 23), (7, 31), (8, 12), (9, 99), (0x32, 99)]) Set(index, value);
        Set(0x0B, 0x06 | 0x70);
        Set(0x0A, 0x23);
        _bench.Pass(3 * Second);
        Assert.Equal(1, Get(8));
        Assert.InRange(Rises, 1, 3);
    }

    private byte Get(byte index)
    {
        _bench.Out(0x70, index);
        return _bench.In(0x71);
    }

    private void Set(byte index, byte value)
    {
        _bench.Out(0x70, index);
        _bench.Out(0x71, value);
    }
}
