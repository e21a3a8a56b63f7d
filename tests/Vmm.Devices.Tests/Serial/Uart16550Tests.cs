using Vmm.Devices.Serial;
using Vmm.Devices.Tests.Support;

namespace Vmm.Devices.Tests.Serial;

/// <summary>The chip without a pipe, from the guest's side.</summary>
public class Uart16550Tests
{
    private const ushort Base = 0x3F8, Ier = Base + 1, Iir = Base + 2, Fcr = Base + 2, Lcr = Base + 3, Mcr = Base + 4, Lsr = Base + 5, Msr = Base + 6;
    private const byte None = 0x01, Modem = 0x00, Thre = 0x02, Received = 0x04, Line = 0x06, Timeout = 0x0C;

    private readonly Bench _bench = new();
    private readonly Uart16550 _uart;

    public Uart16550Tests() => _uart = _bench.Plug(new Uart16550(_bench.Clock, _bench.Wire.Line()), Base, Uart16550.WindowLength);

    private bool Irq => _bench.Wire.Levels[0];

    private byte Cause => (byte)(_bench.In(Iir) & 0x0F);

    [Fact]
    public void Registers_AfterReset_AreAsTheDataSheetSays()
    {
        Assert.Equal([0x00, 0x01, 0x00, 0x00, 0x60, 0xB0], (byte[])[_bench.In(Ier), _bench.In(Iir), _bench.In(Lcr), _bench.In(Mcr), _bench.In(Lsr), _bench.In(Msr)]);
        Assert.False(Irq);
    }

    [Fact]
    public void FifoControl_Enabled_ShowsInTheIdentification()
    {
        Assert.Equal(0x00, _bench.In(Iir) & 0xC0);
        _bench.Out(Fcr, 0x01);
        Assert.Equal(0xC0, _bench.In(Iir) & 0xC0);
    }

    [Fact]
    public void DivisorLatch_Access_DoesNotTouchDataAndInterruptEnable()
    {
        _bench.Out(Ier, 0x05);
        _bench.Out(Lcr, 0x83);
        _bench.Out(Base, 0x34);
        _bench.Out(Ier, 0x12);
        Assert.Equal(0x34, _bench.In(Base));
        Assert.Equal(0x12, _bench.In(Ier));
        _bench.Out(Lcr, 0x03);
        Assert.Equal(0x05, _bench.In(Ier));
    }

    // Linux's serial8250_do_startup checks both of these before it trusts the transmitter interrupt.
    [Fact]
    public void TransmitterInterrupt_EnabledTwice_IsAssertedEachTime()
    {
        _bench.Out(Ier, 0x02);
        Assert.True(Irq);
        Assert.Equal(Thre, Cause);
        Assert.False(Irq);
        Assert.Equal(None, Cause);
        _bench.Out(Ier, 0x00);
        _bench.Out(Ier, 0x02);
        Assert.Equal(Thre, Cause);
    }

    [Fact]
    public void TransmitterInterrupt_AfterEachWrite_IsANewEdge()
    {
        _bench.Out(Ier, 0x02);
        var before = _bench.Wire.Rises[0];
        for (var i = 0; i < 5; i++) _bench.Out(Base, (byte)'x');
        Assert.Equal(before + 5, _bench.Wire.Rises[0]);
        Assert.Equal(0x60, _bench.In(Lsr) & 0x60);
    }

    [Theory]
    [InlineData(0x01, 1)]
    [InlineData(0x41, 4)]
    [InlineData(0x81, 8)]
    [InlineData(0xC1, 14)]
    public void ReceivedInterrupt_AtTheTriggerLevel_ComesAndGoesBelowIt(byte fcr, int trigger)
    {
        _bench.Out(Fcr, fcr);
        _bench.Out(Ier, 0x01);
        _uart.Receive(new byte[trigger - 1]);
        Assert.False(Irq);
        _uart.Receive([7]);
        Assert.Equal(Received, Cause);
        _bench.In(Base);
        Assert.Equal(None, Cause);
    }

    [Fact]
    public void Timeout_FourCharactersAfterTheLast_InterruptsUntilARead()
    {
        _bench.Out(Lcr, 0x83);
        _bench.Out(Base, 12); // 9600 baud
        _bench.Out(Ier, 0);
        _bench.Out(Lcr, 0x03);
        _bench.Out(Fcr, 0x81);
        _bench.Out(Ier, 0x01);
        _uart.Receive([1, 2]);
        const long FourCharacters = 4 * 10 * 1_000_000_000L / 9600;
        _bench.Pass(FourCharacters - 1000);
        Assert.False(Irq);
        _bench.Pass(2000);
        Assert.True(Irq);
        Assert.Equal(Timeout, Cause);
        Assert.Equal(1, _bench.In(Base));
        Assert.Equal(None, Cause);
        _bench.Pass(FourCharacters + 1000);
        Assert.Equal(Timeout, Cause);
        Assert.Equal(2, _bench.In(Base));
        _bench.Pass(10 * FourCharacters);
        Assert.Equal(None, Cause);
    }

    [Fact]
    public void Input_OfAFlood_RespectsTheFifoAndLosesNothingThatWasTaken()
    {
        _bench.Out(Fcr, 0x01);
        _bench.Out(Ier, 0x01);
        var flood = new byte[10_000];
        for (var i = 0; i < flood.Length; i++) flood[i] = (byte)(i * 7);
        var taken = 0;
        List<byte> read = [];
        while (taken < flood.Length)
        {
            taken += _uart.Receive(flood.AsSpan(taken));
            Assert.InRange(taken - read.Count, 0, 4096 + 16);
            for (var i = 0; i < 1000 && (_bench.In(Lsr) & 1) != 0; i++) read.Add(_bench.In(Base));
        }

        while ((_bench.In(Lsr) & 1) != 0) read.Add(_bench.In(Base));
        Assert.Equal(flood, read);
        Assert.Equal(0, _bench.In(Lsr) & 0x02);
    }

    [Fact]
    public void Input_TypedBeforeTheDriver_SurvivesItsFifoReset()
    {
        _uart.Receive("early"u8);
        _bench.Out(Fcr, 0x07); // autoconfiguration and start-up of a driver
        _bench.Out(Fcr, 0x00);
        _bench.In(Lsr);
        _bench.In(Base);
        _bench.In(Iir);
        _bench.Out(Fcr, 0x81);
        _bench.Out(Ier, 0x05);
        List<byte> read = [];
        while ((_bench.In(Lsr) & 1) != 0) read.Add(_bench.In(Base));
        Assert.Equal("early"u8.ToArray(), read);
    }

    [Fact]
    public void Input_OfAGuestThatPolls_ArrivesWithoutInterrupts()
    {
        _uart.Receive("ab"u8);
        var polls = 0;
        while ((_bench.In(Lsr) & 1) == 0) Assert.True(++polls < 100);
        Assert.Equal((byte)'a', _bench.In(Base));
        Assert.Equal(1, _bench.In(Lsr) & 1);
        Assert.Equal((byte)'b', _bench.In(Base));
    }

    [Fact]
    public void Break_FromTheHost_IsAZeroWithBreakAndALineInterrupt()
    {
        _bench.Out(Fcr, 0x01);
        _bench.Out(Ier, 0x05);
        _uart.ReceiveBreak();
        _uart.Receive("h"u8);
        Assert.Equal(Line, Cause);
        Assert.Equal(0x80 | 0x10 | 0x08 | 0x01, _bench.In(Lsr) & 0x99);
        Assert.Equal(0, _bench.In(Base));
        Assert.Equal(0x01, _bench.In(Lsr) & 0x99);
        Assert.Equal((byte)'h', _bench.In(Base));
    }

    [Fact]
    public void Loopback_OfSeventeenBytes_OverrunsTheFifoAndKeepsTheFirstSixteen()
    {
        _bench.Out(Fcr, 0x01);
        _bench.Out(Mcr, 0x10);
        for (byte i = 0; i < 17; i++) _bench.Out(Base, i);
        Assert.Equal(0x02, _bench.In(Lsr) & 0x02);
        Assert.Equal(0x00, _bench.In(Lsr) & 0x02);
        for (byte i = 0; i < 16; i++) Assert.Equal(i, _bench.In(Base));
        Assert.Equal(0, _bench.In(Lsr) & 0x01);
    }

    [Fact]
    public void Loopback_WithoutFifo_KeepsTheLastByte()
    {
        _bench.Out(Mcr, 0x10);
        _bench.Out(Base, 1);
        _bench.Out(Base, 2);
        Assert.Equal(0x03, _bench.In(Lsr) & 0x03);
        Assert.Equal(2, _bench.In(Base));
    }

    [Theory]
    [InlineData(0x01, 0x20)]
    [InlineData(0x02, 0x10)]
    [InlineData(0x04, 0x40)]
    [InlineData(0x08, 0x80)]
    public void Loopback_OfModemControl_ComesBackAsModemStatus(byte control, byte status)
    {
        _bench.Out(Mcr, 0x10);
        _bench.In(Msr);
        _bench.Out(Mcr, (byte)(0x10 | control));
        Assert.Equal(status, _bench.In(Msr) & 0xF0);
    }

    [Fact]
    public void ModemStatus_Changed_InterruptsUntilRead()
    {
        _bench.Out(Ier, 0x08);
        _bench.Out(Mcr, 0x10);
        Assert.True(Irq);
        Assert.Equal(Modem, Cause);
        Assert.Equal(0x0B, _bench.In(Msr) & 0x0F);
        Assert.False(Irq);
        Assert.Equal(0x00, _bench.In(Msr) & 0x0F);
    }

    [Fact]
    public void LoopbackWithBreak_AndInterruptFlips_StaySane()
    {
        for (var i = 0; i < 10_000; i++)
        {
            _bench.Out(Mcr, (byte)(i & 0x1F));
            _bench.Out(Lcr, (byte)(i << 6));
            _bench.Out(Ier, (byte)i);
            _bench.Out(Lcr, 0);
            _bench.Out(Base, (byte)i);
        }

        _bench.Out(Ier, 0);
        Assert.False(Irq);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(0xFFFF)]
    public void Divisor_OfExtremes_StillTimesOut(int divisor)
    {
        _bench.Out(Lcr, 0x80);
        _bench.Out(Base, (byte)divisor);
        _bench.Out(Ier, (byte)(divisor >> 8));
        _bench.Out(Lcr, 0x1F);
        _bench.Out(Fcr, 0xC1);
        _bench.Out(Ier, 0x01);
        _uart.Receive([1]);
        _bench.Pass(60_000_000_000);
        Assert.Equal(Timeout, Cause);
    }

    [Fact]
    public void FirstOutput_Event_ComesOncePerPowerOn()
    {
        var count = 0;
        _uart.FirstOutput += () => count++;
        _bench.Out(Mcr, 0x10);
        _bench.Out(Base, 1);
        Assert.Equal(0, count);
        _bench.Out(Mcr, 0x00);
        _bench.Out(Base, 1);
        _bench.Out(Base, 1);
        Assert.Equal(1, count);
    }

    [Fact]
    public void Scratch_Register_Keeps()
    {
        _bench.Out(Base + 7, 0xA5);
        Assert.Equal(0xA5, _bench.In(Base + 7));
    }
}
