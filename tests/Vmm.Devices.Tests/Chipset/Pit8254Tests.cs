using FsCheck.Xunit;
using Vmm.Devices.Chipset;
using Vmm.Devices.Tests.Support;

namespace Vmm.Devices.Tests.Chipset;

public class Pit8254Tests
{
    private readonly Bench _bench = new();
    private readonly Pit8254 _pit;

    public Pit8254Tests()
    {
        _pit = _bench.Plug(new Pit8254(_bench.Clock, _bench.Wire.Line()), 0x40, 4);
        _bench.Ports.Map(0x61, 1, _pit.SpeakerPort, _pit);
    }

    private int Rises => _bench.Wire.Rises[0];

    [Fact]
    public void Mode2_OverAnHour_GivesExactlyTheEdgesOfTheDivisor()
    {
        const int Divisor = 11_932;
        Program(0, mode: 2, Divisor);
        var (start, before) = (Ticks(_bench.Clock.Now), Rises);
        _bench.Pass(3600L * 1_000_000_000);
        Assert.Equal((Ticks(_bench.Clock.Now) - start - 1) / Divisor, Rises - before);
    }

    [Property(MaxTest = 60)]
    public void Mode2_AtAnyTime_CountsDownFromTheDivisor(ushort divisor, uint time)
    {
        var (bench, pit) = Fresh();
        var count = divisor == 0 ? 0x10000 : divisor;
        bench.Clock.Advance(time);
        Write(bench, 0, 0x34, divisor);
        var start = Ticks(time);
        bench.Pass(time % 100_000_000);
        var elapsed = Ticks(bench.Clock.Now) - start - 1;
        bench.Out(0x43, 0x00);
        var read = bench.In(0x40) | bench.In(0x40) << 8;
        Assert.Equal(elapsed < 0 ? divisor : (ushort)(count - elapsed % count), read);
        Assert.True(pit.Output(0) || elapsed % count == count - 1 || count == 1);
    }

    [Property(MaxTest = 60)]
    public void Mode3_AtAnyTime_IsHighForTheLongerHalf(ushort divisor, uint time)
    {
        var (bench, pit) = Fresh();
        var count = divisor == 0 ? 0x10000 : divisor;
        Write(bench, 0, 0x36, divisor);
        bench.Pass(time % 300_000_000);
        var elapsed = Ticks(bench.Clock.Now) - 1;
        if (elapsed < 0) return;
        Assert.Equal(elapsed % count < (count + 1) / 2, pit.Output(0));
        bench.Out(0x43, 0x00);
        var read = bench.In(0x40) | bench.In(0x40) << 8;
        Assert.Equal(0, read & 1); // it counts by two
    }

    [Fact]
    public void Mode0_OfChannel2_RaisesOutAfterTheCount()
    {
        _bench.Out(0x61, 0x01);
        Program(2, mode: 0, 0x1000);
        Assert.Equal(0, _bench.In(0x61) & 0x20);
        PassTicks(0x1000);
        Assert.Equal(0, _bench.In(0x61) & 0x20);
        PassTicks(1);
        Assert.Equal(0x20, _bench.In(0x61) & 0x20);
    }

    [Fact]
    public void Gate_OfChannel2_PausesTheCountInMode0()
    {
        _bench.Out(0x61, 0x01);
        Program(2, mode: 0, 0x8000);
        PassTicks(1 + 0x100);
        _bench.Out(0x61, 0x00);
        PassTicks(0x5000);
        Assert.Equal(0x8000 - 0x100, Latched(2));
        _bench.Out(0x61, 0x01);
        PassTicks(0x200);
        Assert.Equal(0x8000 - 0x300, Latched(2));
    }

    [Fact]
    public void Mode1_OnGateRise_GivesOnePulse()
    {
        Program(2, mode: 1, 100);
        Assert.True(_pit.Output(2));
        _bench.Out(0x61, 0x01);
        PassTicks(1);
        Assert.False(_pit.Output(2));
        PassTicks(99);
        Assert.False(_pit.Output(2));
        PassTicks(1);
        Assert.True(_pit.Output(2));
        _bench.Out(0x61, 0x00);
        _bench.Out(0x61, 0x01);
        PassTicks(50);
        _bench.Out(0x61, 0x00);
        _bench.Out(0x61, 0x01); // triggered again before its end
        PassTicks(100);
        Assert.False(_pit.Output(2));
        PassTicks(1);
        Assert.True(_pit.Output(2));
    }

    [Theory]
    [InlineData(4)]
    [InlineData(5)]
    public void Strobe_AtTerminalCount_IsLowForOneTick(int mode)
    {
        _bench.Out(0x61, (byte)(mode == 4 ? 1 : 0));
        Program(2, mode, 10);
        if (mode == 5) _bench.Out(0x61, 0x01);
        PassTicks(1);
        for (var tick = 0; tick < 30; tick++)
        {
            Assert.Equal(tick != 10, _pit.Output(2));
            PassTicks(1);
        }
    }

    [Fact]
    public void Mode0_OfChannel0_InterruptsOnce()
    {
        Program(0, mode: 0, 1000);
        var before = Rises;
        _bench.Pass(10_000_000);
        Assert.Equal(before + 1, Rises);
    }

    [Fact]
    public void Mode4_OfChannel0_InterruptsOncePerCount()
    {
        Program(0, mode: 4, 2000);
        var before = Rises;
        _bench.Pass(10_000_000);
        Assert.Equal(before + 1, Rises);
        WriteCount(0, 2000);
        _bench.Pass(10_000_000);
        Assert.Equal(before + 2, Rises);
    }

    [Fact]
    public void Bcd_Counts_InDecimal()
    {
        _bench.Out(0x61, 0x01);
        _bench.Out(0x43, 0xB1); // channel 2, both bytes, mode 0, BCD
        WriteCount(2, 0x1000);
        PassTicks(2);
        Assert.Equal(0x0999, Latched(2));
        PassTicks(1000);
        Assert.Equal(0x9999, Latched(2));
    }

    [Fact]
    public void NewDivisor_InMode2_TakesOverAtTheEndOfThePeriod()
    {
        Program(0, mode: 2, 10_000);
        PassTicks(1 + 4000);
        WriteCount(0, 5000);
        Assert.Equal(6000, Latched(0));
        PassTicks(6000);
        Assert.Equal(5000, Latched(0));
    }

    [Fact]
    public void NewDivisor_InMode3_TakesOverAtHalfThePeriod()
    {
        Program(0, mode: 3, 10_000);
        PassTicks(1 + 4000);
        WriteCount(0, 2000);
        Assert.True(_pit.Output(0));
        PassTicks(1000);
        Assert.False(_pit.Output(0));
        PassTicks(999);
        Assert.False(_pit.Output(0));
        PassTicks(1);
        Assert.True(_pit.Output(0));
        PassTicks(1000);
        Assert.False(_pit.Output(0));
    }

    [Fact]
    public void ReadBack_Status_TellsOutputNullCountAndMode()
    {
        _bench.Out(0x43, 0xB4);
        _bench.Out(0x43, 0xE8);
        Assert.Equal(0x80 | 0x40 | 0x34, _bench.In(0x42));
        WriteCount(2, 500);
        _bench.Out(0x61, 0x01);
        PassTicks(2);
        _bench.Out(0x43, 0xC8); // count and status: the status comes first
        Assert.Equal(0x80 | 0x34, _bench.In(0x42));
        Assert.Equal(499, _bench.In(0x42) | _bench.In(0x42) << 8);
    }

    [Fact]
    public void Latch_Twice_KeepsTheFirst()
    {
        Program(0, mode: 2, 0xFFFF);
        PassTicks(101);
        _bench.Out(0x43, 0x00);
        PassTicks(100);
        _bench.Out(0x43, 0x00);
        Assert.Equal(0xFFFF - 100, _bench.In(0x40) | _bench.In(0x40) << 8);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(7)]
    public void TinyDivisor_InPeriodicModes_NeverFloods(ushort divisor)
    {
        foreach (var mode in (int[])[2, 3])
        {
            Program(0, mode, divisor);
            var before = Rises;
            _bench.Pass(1_000_000_000);
            Assert.InRange(Rises - before, 0, 10_001);
        }
    }

    [Fact]
    public void Edges_WhenTheHostIsLate_AreMergedAndThePhaseKept()
    {
        Program(0, mode: 2, 11_932);
        var before = Rises;
        _bench.PassLate(95_000_000);
        Assert.Equal(before + 1, Rises);
        _bench.Pass(5_100_000);
        Assert.Equal(before + 2, Rises);
    }

    [Fact]
    public void Edge_DueBeforeReprogramming_IsNotLost()
    {
        Program(0, mode: 0, 100);
        var (bench, pit) = (_bench, _pit);
        var before = Rises;
        lock (pit)
        {
            // The clock stands past the edge before its timer was served.
            bench.Clock.SetTo(bench.Clock.Now + 1_000_000);
            pit.Write(3, 1, 0x34);
        }

        Assert.Equal(before + 1, Rises);
    }

    [Fact]
    public void RefreshToggle_Over15Microseconds_Changes()
    {
        var before = _bench.In(0x61) & 0x10;
        PassTicks(18);
        Assert.NotEqual(before, _bench.In(0x61) & 0x10);
    }

    [Fact]
    public void WideAccess_OfTheControlPorts_IsSplitIntoBytes()
    {
        _bench.Ports.Write(0x40, 4, 0x34_00_00_10);
        PassTicks(3);
        Assert.Equal(0xFFul, _bench.Ports.Read(0x43, 1));
    }

    private static long Ticks(long nanoseconds) => (long)((Int128)nanoseconds * 1_193_182 / 1_000_000_000);

    private static (Bench Bench, Pit8254 Pit) Fresh()
    {
        var bench = new Bench();
        return (bench, bench.Plug(new Pit8254(bench.Clock, bench.Wire.Line()), 0x40, 4));
    }

    private static void Write(Bench bench, int channel, byte control, ushort count)
    {
        bench.Out(0x43, control);
        bench.Out((ushort)(0x40 + channel), (byte)count);
        bench.Out((ushort)(0x40 + channel), (byte)(count >> 8));
    }

    private void Program(int channel, int mode, ushort count) => Write(_bench, channel, (byte)(channel << 6 | 0x30 | mode << 1), count);

    private void WriteCount(int channel, ushort count)
    {
        _bench.Out((ushort)(0x40 + channel), (byte)count);
        _bench.Out((ushort)(0x40 + channel), (byte)(count >> 8));
    }

    private int Latched(int channel)
    {
        _bench.Out(0x43, (byte)(channel << 6));
        return _bench.In((ushort)(0x40 + channel)) | _bench.In((ushort)(0x40 + channel)) << 8;
    }

    // To the first nanosecond of a tick so many further on.
    private void PassTicks(long ticks)
    {
        var target = Ticks(_bench.Clock.Now) + ticks;
        var nanoseconds = (long)(((Int128)target * 1_000_000_000 + 1_193_181) / 1_193_182);
        _bench.Pass(nanoseconds - _bench.Clock.Now);
    }
}
