using Vmm.Devices.Chipset;
using Vmm.Devices.Tests.Support;

namespace Vmm.Devices.Tests.Chipset;

public class Pic8259Tests
{
    private const byte MasterBase = 0x30, SlaveBase = 0x38, Eoi = 0x20;

    private readonly Bench _bench = new();
    private readonly Pic8259 _pic;

    public Pic8259Tests()
    {
        _pic = new Pic8259(_bench.Drive);
        _bench.Ports.Map(0x20, 2, _pic.MasterPorts, _pic);
        _bench.Ports.Map(0xA0, 2, _pic.SlavePorts, _pic);
        _bench.Ports.Map(0x4D0, 2, _pic.TriggerPorts, _pic);
        _pic.Reset();
        Initialise(icw4: 0x01);
    }

    private bool Output => _bench.Wire.Levels[0];

    [Fact]
    public void Edge_Unmasked_IsDeliveredOnceAndBlocksLowerOnesUntilEoi()
    {
        _pic.SetInput(4, true);
        Assert.True(Output);
        Assert.Equal(MasterBase + 4, _pic.Acknowledge());
        Assert.False(Output);
        _pic.SetInput(5, true);
        Assert.False(Output);
        _pic.SetInput(1, true);
        Assert.Equal(MasterBase + 1, _pic.Acknowledge());
        _bench.Out(0x20, Eoi);
        Assert.False(Output);
        _bench.Out(0x20, Eoi);
        Assert.Equal(MasterBase + 5, _pic.Acknowledge());
        Assert.Equal(1 << 5, InService(0x20));
    }

    [Fact]
    public void SlaveInput_Acknowledged_IsInServiceOnBoth()
    {
        _pic.SetInput(12, true);
        Assert.Equal(SlaveBase + 4, _pic.Acknowledge());
        Assert.Equal(1 << 4, InService(0xA0));
        Assert.Equal(1 << 2, InService(0x20));
        _pic.SetInput(9, true); // of higher priority on the slave, but the master waits for its EOI
        Assert.False(Output);
        _bench.Out(0x20, Eoi);
        Assert.Equal(SlaveBase + 1, _pic.Acknowledge());
    }

    [Fact]
    public void SpecialFullyNested_SlaveInput_IsInterruptedByHigherOneOfTheSlave()
    {
        Initialise(icw4: 0x11);
        _pic.SetInput(12, true);
        _pic.Acknowledge();
        _pic.SetInput(9, true);
        Assert.True(Output);
        Assert.Equal(SlaveBase + 1, _pic.Acknowledge());
    }

    [Fact]
    public void Acknowledge_WithNothingPending_IsSpuriousSevenWithoutService()
    {
        Assert.Equal(MasterBase + 7, _pic.Acknowledge());
        Assert.Equal(0, InService(0x20));
    }

    [Fact]
    public void Acknowledge_WhenSlaveLevelHasGone_IsSpuriousFifteenWithCascadeInService()
    {
        _bench.Out(0x4D1, 1 << 2); // IRQ 10 by level
        _bench.Out(0x21, 0xFB);
        _pic.SetInput(10, true);
        Assert.True(Output);
        _bench.Out(0xA1, 0x04);
        Assert.False(Output);
        Assert.Equal(MasterBase + 7, _pic.Acknowledge());
        _bench.Out(0xA1, 0);
        _pic.SetInput(10, false);
        Assert.False(Output);
    }

    [Fact]
    public void LevelInput_StillAssertedAfterEoi_IsDeliveredAgain()
    {
        _bench.Out(0x4D0, 1 << 5);
        Assert.Equal(1 << 5, _bench.In(0x4D0));
        _pic.SetInput(5, true);
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal(MasterBase + 5, _pic.Acknowledge());
            _bench.Out(0x20, Eoi);
            Assert.True(Output);
        }

        _pic.SetInput(5, false);
        Assert.False(Output);
    }

    [Fact]
    public void Elcr_OfTimerKeyboardRtcAndFpu_CannotBeSet()
    {
        _bench.Out(0x4D0, 0xFF);
        _bench.Out(0x4D1, 0xFF);
        Assert.Equal(0xF8, _bench.In(0x4D0));
        Assert.Equal(0xDE, _bench.In(0x4D1));
    }

    [Fact]
    public void AutoEoi_Acknowledged_IsNotInService()
    {
        Initialise(icw4: 0x03);
        _pic.SetInput(3, true);
        _pic.SetInput(4, true);
        Assert.Equal(MasterBase + 3, _pic.Acknowledge());
        Assert.Equal(MasterBase + 4, _pic.Acknowledge());
        Assert.Equal(0, InService(0x20));
    }

    [Fact]
    public void RotateOnNonSpecificEoi_ServedInput_BecomesLowest()
    {
        _pic.SetInput(3, true);
        _pic.Acknowledge();
        _bench.Out(0x20, 0xA0);
        _pic.SetInput(3, false);
        _pic.SetInput(3, true);
        _pic.SetInput(4, true);
        Assert.Equal(MasterBase + 4, _pic.Acknowledge());
    }

    [Fact]
    public void SetPriority_Lowest_MakesTheNextInputHighest()
    {
        _bench.Out(0x20, 0xC5);
        _pic.SetInput(0, true);
        _pic.SetInput(6, true);
        Assert.Equal(MasterBase + 6, _pic.Acknowledge());
    }

    [Fact]
    public void SpecialMask_MaskedInService_LetsLowerOnesThrough()
    {
        _pic.SetInput(3, true);
        _pic.Acknowledge();
        _pic.SetInput(5, true);
        Assert.False(Output);
        _bench.Out(0x21, 1 << 3);
        _bench.Out(0x20, 0x68);
        Assert.True(Output);
        Assert.Equal(MasterBase + 5, _pic.Acknowledge());
    }

    [Fact]
    public void SpecificEoi_OfOneInput_LeavesTheOther()
    {
        _pic.SetInput(5, true);
        _pic.Acknowledge();
        _pic.SetInput(2 + 1, true);
        _pic.Acknowledge();
        _bench.Out(0x20, 0x65);
        Assert.Equal(1 << 3, InService(0x20));
    }

    [Fact]
    public void Poll_WithPendingInput_AcknowledgesIt()
    {
        _pic.SetInput(6, true);
        _bench.Out(0x20, 0x0C);
        Assert.Equal(0x86, _bench.In(0x20));
        Assert.Equal(1 << 6, InService(0x20));
        _bench.Out(0x20, 0x0C);
        Assert.Equal(0, _bench.In(0x20));
    }

    [Fact]
    public void Icw1_WithLineStillHigh_NeedsANewEdge()
    {
        _pic.SetInput(4, true);
        Initialise(icw4: 0x01);
        Assert.False(Output);
        _pic.SetInput(4, false);
        _pic.SetInput(4, true);
        Assert.True(Output);
    }

    [Fact]
    public void Mask_AfterReset_HidesEverything()
    {
        _pic.Reset();
        _pic.SetInput(1, true);
        Assert.False(Output);
        Assert.Equal(0xFF, _bench.In(0x21));
    }

    private void Initialise(byte icw4)
    {
        foreach (var (port, vectors, cascade) in ((ushort, byte, byte)[])[(0x20, MasterBase, 0x04), (0xA0, SlaveBase, 0x02)])
        {
            _bench.Out(port, 0x11);
            _bench.Out((ushort)(port + 1), vectors);
            _bench.Out((ushort)(port + 1), cascade);
            _bench.Out((ushort)(port + 1), icw4);
            _bench.Out((ushort)(port + 1), 0);
        }
    }

    private byte InService(ushort port)
    {
        _bench.Out(port, 0x0B);
        var value = _bench.In(port);
        _bench.Out(port, 0x0A);
        return value;
    }
}
