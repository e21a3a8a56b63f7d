using Vmm.Devices.Chipset;
using Vmm.Devices.Tests.Support;

namespace Vmm.Devices.Tests.Chipset;

public class AcpiPmTests
{
    private const ushort Status = 0x600, Enable = 0x602, Control = 0x604, Timer = 0x608, GpeStatus = 0x60C, GpeEnable = 0x60E;

    private readonly Bench _bench = new();
    private readonly AcpiPm _pm;
    private int _offs;

    public AcpiPmTests() => _pm = _bench.Plug(new AcpiPm(_bench.Clock, _bench.Wire.Line(), () => _offs++), 0x600, AcpiPm.WindowLength);

    private bool Sci => _bench.Wire.Levels[0];

    [Fact]
    public void SleepType_OfS5_SwitchesOffAndOthersDoNot()
    {
        for (var type = 0; type < 8; type++)
        {
            Write(Control, (ushort)(type << 10 | 1 << 13));
            Assert.Equal(type >= 5 ? 1 : 0, _offs);
        }

        Write(Control, 5 << 10);
        Assert.Equal(1, _offs);
        _bench.Out(Control + 1, (5 << 2) | (1 << 5)); // as two byte writes
        Assert.Equal(2, _offs);
    }

    [Fact]
    public void Control_ReadBack_IsAlwaysInAcpiModeWithoutSleepEnable()
    {
        Assert.Equal(1, Read(Control));
        Write(Control, 0xFFFF & ~(7 << 10));
        Assert.Equal(0x0003, Read(Control));
        Write(Control, 0);
        Assert.Equal(1, Read(Control));
    }

    [Fact]
    public void Timer_OverTwentyMinutes_IsExact()
    {
        for (var i = 0; i < 1200; i++)
        {
            _bench.Pass(999_999_937);
            Assert.Equal((uint)((Int128)_bench.Clock.Now * 3_579_545 / 1_000_000_000), (uint)_bench.Ports.Read(Timer, 4));
        }
    }

    [Fact]
    public void Timer_WhenItsTopBitChanges_SetsItsStatusAndInterrupts()
    {
        Write(Enable, 1);
        _bench.Pass(599_000_000_000);
        Assert.False(Sci);
        _bench.Pass(1_000_000_000);
        Assert.True(Sci);
        Assert.Equal(1, Read(Status) & 1);
        Write(Status, 1);
        Assert.False(Sci);
        _bench.Pass(601_000_000_000);
        Assert.True(Sci);
    }

    [Fact]
    public void PowerButton_Pressed_InterruptsOnceEnabled()
    {
        _pm.PressPowerButton();
        Assert.False(Sci);
        Write(Enable, 1 << 8);
        Assert.True(Sci);
        Write(Status, 1 << 8);
        Assert.False(Sci);
        Assert.Equal(0, Read(Status));
    }

    [Fact]
    public void GeneralEvents_Flooded_StayOneLevel()
    {
        Write(GpeEnable, 0x8001);
        for (var i = 0; i < 100_000; i++) _pm.RaiseEvent(i % 16);
        Assert.True(Sci);
        Assert.Equal(1, _bench.Wire.Rises[0]);
        Write(GpeStatus, 0x7FFF);
        Assert.True(Sci);
        Write(GpeStatus, 0x8000);
        Assert.False(Sci);
        Assert.Equal(0, Read(GpeStatus));
    }

    [Fact]
    public void RaiseEvent_BeyondTheBlock_IsRefused() => Assert.Throws<ArgumentOutOfRangeException>(() => _pm.RaiseEvent(16));

    private int Read(ushort port) => (int)_bench.Ports.Read(port, 2);

    private void Write(ushort port, int value) => _bench.Ports.Write(port, 2, (ushort)value);
}
