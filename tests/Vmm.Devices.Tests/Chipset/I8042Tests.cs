using Vmm.Devices.Chipset;
using Vmm.Devices.Tests.Support;

namespace Vmm.Devices.Tests.Chipset;

public class I8042Tests
{
    private const int KeyboardIrq = 1, MouseIrq = 12;

    private readonly Bench _bench = new();
    private readonly I8042 _controller;
    private int _resets;

    public I8042Tests() => _controller = Plug(_bench, mouse: true);

    [Fact]
    public void Command0xFE_Written_ResetsTheMachine()
    {
        _bench.Out(0x64, 0xFE);
        Assert.Equal(1, _resets);
        for (var command = 0xF1; command < 0x100; command += 2) _bench.Out(0x64, (byte)command);
        Assert.Equal(1, _resets);
    }

    [Fact]
    public void SelfTests_OfControllerAndPorts_Pass()
    {
        Assert.Equal(0x55, Ask(0xAA));
        Assert.Equal(0x00, Ask(0xAB));
        Assert.Equal(0x00, Ask(0xA9));
        Assert.Equal(0x04, _bench.In(0x64) & 0x04);
    }

    [Fact]
    public void CommandByte_WrittenAndRead_IsTheSame()
    {
        _bench.Out(0x64, 0x60);
        Assert.Equal(0x08, _bench.In(0x64) & 0x08);
        _bench.Out(0x60, 0x74);
        Assert.Equal(0x74, Ask(0x20));
    }

    [Fact]
    public void OutputPort_A20_IsStoredAndBit0Resets()
    {
        Assert.Equal(0x03, Ask(0xD0) & 0x03);
        _bench.Out(0x64, 0xDD);
        Assert.Equal(0x01, Ask(0xD0) & 0x03);
        _bench.Out(0x64, 0xD1);
        _bench.Out(0x60, 0x03);
        Assert.Equal(0x03, Ask(0xD0) & 0x03);
        Assert.Equal(0, _resets);
        _bench.Out(0x64, 0xD1);
        _bench.Out(0x60, 0x02);
        Assert.Equal(1, _resets);
    }

    [Fact]
    public void Keyboard_ResetAndIdentify_AnswersTranslated()
    {
        Assert.Equal([0xFA, 0xAA], Send(0xFF));
        Assert.Equal([0xFA, 0xAB, 0x41], Send(0xF2));
        Assert.Equal([0xEE], Send(0xEE));
        Assert.Equal([0xFA], Send(0xF0));
        Assert.Equal([0xFA, 0x41], Send(0x00)); // scan code set 2, translated
    }

    [Fact]
    public void Key_PressedAndReleased_ArrivesInSet1WithAnInterruptEach()
    {
        var before = _bench.Wire.Rises[KeyboardIrq];
        Assert.True(_controller.SendKeys([0x1C, 0xF0, 0x1C, 0xE0, 0x75]));
        Assert.True(_bench.Wire.Levels[KeyboardIrq]);
        Assert.Equal([0x1E, 0x9E, 0xE0, 0x48], Drain());
        Assert.Equal(before + 4, _bench.Wire.Rises[KeyboardIrq]);
        Assert.False(_bench.Wire.Levels[KeyboardIrq]);
    }

    [Fact]
    public void Key_WithoutTranslation_ArrivesInSet2()
    {
        _bench.Out(0x64, 0x60);
        _bench.Out(0x60, 0x01);
        _controller.SendKeys([0x1C, 0xF0, 0x1C]);
        Assert.Equal([0x1C, 0xF0, 0x1C], Drain());
    }

    [Fact]
    public void Keys_WhenDisabledOrTooMany_AreDroppedWhole()
    {
        Send(0xF5);
        Assert.False(_controller.SendKeys([0x1C]));
        Send(0xF4);
        for (var i = 0; i < 1000; i++) _controller.SendKeys([0x1C, 0xF0, 0x1C]);
        Assert.InRange(Drain().Length, 4, 40);
    }

    [Fact]
    public void Leds_SetByTheGuest_AreSeenByTheHost()
    {
        Send(0xED);
        Assert.Equal([0xFA], Send(0x06));
        Assert.Equal(6, _controller.Leds);
    }

    [Fact]
    public void Mouse_ResetEnabledAndMoved_SendsPackets()
    {
        Assert.Equal([0xFA, 0xAA, 0x00], SendMouse(0xFF));
        Assert.Equal([0xFA, 0x00], SendMouse(0xF2));
        _controller.MoveMouse(1, 1, 0);
        Assert.Empty(Drain());
        Assert.Equal([0xFA], SendMouse(0xF4));
        _controller.MoveMouse(4, -3, 1);
        Assert.True(_bench.Wire.Levels[MouseIrq]);
        Assert.Equal(0x21, _bench.In(0x64) & 0x21);
        Assert.Equal([0x29, 0x05, 0xFE], Drain());
    }

    [Fact]
    public void Mouse_MovedFar_IsBounded()
    {
        SendMouse(0xF4);
        for (var i = 0; i < 1000; i++) _controller.MoveMouse(int.MaxValue, int.MinValue, 0xFF);
        Assert.InRange(Drain().Length, 3, 40);
    }

    [Fact]
    public void MousePort_WhenAbsent_StaysDisabledAndSilent()
    {
        var bench = new Bench();
        Plug(bench, mouse: false);
        bench.Out(0x64, 0xA8);
        bench.Out(0x64, 0x20);
        Assert.Equal(0x20, bench.In(0x60) & 0x20);
        bench.Out(0x64, 0xD3);
        bench.Out(0x60, 0x5A);
        Assert.Equal(0, bench.In(0x64) & 0x01);
        bench.Out(0x64, 0xD4);
        bench.Out(0x60, 0xFF);
        Assert.Equal(0, bench.In(0x64) & 0x01);
    }

    [Fact]
    public void ResetLoop_OfAThousand_IsHarmless()
    {
        for (var i = 0; i < 1000; i++) _bench.Out(0x64, 0xFE);
        Assert.Equal(1000, _resets);
    }

    private I8042 Plug(Bench bench, bool mouse)
    {
        var controller = new I8042(bench.Wire.Line(KeyboardIrq), mouse ? bench.Wire.Line(MouseIrq) : null, () => _resets++);
        bench.Ports.Map(0x60, 1, controller.DataPort, controller);
        bench.Ports.Map(0x64, 1, controller.CommandPort, controller);
        controller.Reset();
        return controller;
    }

    private byte Ask(byte command)
    {
        _bench.Out(0x64, command);
        Assert.Equal(0x01, _bench.In(0x64) & 0x21);
        return _bench.In(0x60);
    }

    private byte[] Send(byte value)
    {
        _bench.Out(0x60, value);
        return Drain();
    }

    private byte[] SendMouse(byte value)
    {
        _bench.Out(0x64, 0xD4);
        _bench.Out(0x60, value);
        return Drain();
    }

    private byte[] Drain()
    {
        List<byte> bytes = [];
        while ((_bench.In(0x64) & 0x01) != 0) bytes.Add(_bench.In(0x60));
        return [.. bytes];
    }
}
