using Vmm.Core.Buses;
using Vmm.Devices.Chipset;

namespace Vmm.Devices.Tests.Chipset;

public class IoApicTests
{
    private readonly List<MsiMessage> _sent = [];
    private readonly IoApic _ioApic;

    public IoApicTests()
    {
        _ioApic = new IoApic(_sent.Add);
        _ioApic.Reset();
    }

    [Fact]
    public void Version_Read_Tells24InputsAndTheEoiRegister() => Assert.Equal(0x0017_0020u, ReadRegister(1));

    [Fact]
    public void Edge_Unmasked_IsSentOnce()
    {
        Redirect(4, 0x0300_0000_0000_0031);
        _ioApic.SetInput(4, true);
        _ioApic.SetInput(4, false);
        Assert.Equal([new MsiMessage(0xFEE0_3000, 0x31)], _sent);
    }

    [Fact]
    public void LogicalLowestPriority_Entry_BecomesTheSameInTheMessage()
    {
        Redirect(7, 0xFF00_0000_0000_0951);
        _ioApic.SetInput(7, true);
        Assert.Equal([new MsiMessage(0xFEEF_F00C, 0x151)], _sent);
    }

    [Fact]
    public void Edge_WhileMasked_IsForgotten()
    {
        Redirect(4, 0x1_0031);
        _ioApic.SetInput(4, true);
        Redirect(4, 0x31);
        Assert.Empty(_sent);
    }

    [Fact]
    public void Level_WhileMasked_IsSentWhenUnmasked()
    {
        Redirect(9, 0x1_8031);
        _ioApic.SetInput(9, true);
        Assert.Empty(_sent);
        Redirect(9, 0x8031);
        Assert.Equal([new MsiMessage(0xFEE0_0000, 0xC031)], _sent);
    }

    [Fact]
    public void Level_StillAssertedAtEoi_IsSentAgain()
    {
        Redirect(9, 0x8031);
        _ioApic.SetInput(9, true);
        Assert.Equal(0x4000u, ReadRegister(0x10 + 18) & 0x4000);
        Redirect(9, 0x8031); // writing the entry again does not send while it waits for its EOI
        Assert.Single(_sent);
        _ioApic.EndOfInterrupt(0x32);
        Assert.Single(_sent);
        _ioApic.EndOfInterrupt(0x31);
        Assert.Equal(2, _sent.Count);
        _ioApic.SetInput(9, false);
        _ioApic.Write(0x40, 4, 0x31);
        Assert.Equal(2, _sent.Count);
        Assert.Equal(0u, ReadRegister(0x10 + 18) & 0x4000);
    }

    [Fact]
    public void RemoteIrr_MadeEdgeForAMoment_IsCleared()
    {
        Redirect(9, 0x8031);
        _ioApic.SetInput(9, true);
        _ioApic.SetInput(9, false);
        Redirect(9, 0x1_0031);
        Redirect(9, 0x8031);
        Assert.Equal(0u, ReadRegister(0x10 + 18) & 0x4000);
        Assert.Single(_sent);
    }

    [Theory]
    [InlineData(0x300)]
    [InlineData(0x600)]
    public void ReservedDeliveryMode_Asserted_SendsNothing(int mode)
    {
        Redirect(3, 0x31u | (uint)mode);
        _ioApic.SetInput(3, true);
        Assert.Empty(_sent);
    }

    [Fact]
    public void StuckLine_UnderAMillionEois_SendsOneMessageEach()
    {
        long sent = 0;
        var ioApic = new IoApic(_ => sent++);
        ioApic.Write(0, 4, 0x10 + 10);
        ioApic.Write(0x10, 4, 0x8031);
        ioApic.SetInput(5, true);
        for (var i = 0; i < 1_000_000; i++) ioApic.EndOfInterrupt(0x31);
        Assert.Equal(1_000_001, sent);
    }

    [Fact]
    public void EveryRegisterIndex_ReadAndWritten_IsSafe()
    {
        for (var index = 0; index < 256; index++)
        {
            _ioApic.Write(0, 4, (ulong)index);
            Assert.Equal((ulong)index, _ioApic.Read(0, 4));
            _ioApic.Write(0x10, 4, 0xFFFF_FFFF);
            var value = (uint)_ioApic.Read(0x10, 4);
            if (index >= 0x40) Assert.Equal(0xFFFF_FFFF, value);
        }

        Assert.Empty(_sent);
    }

    [Fact]
    public void NarrowWrite_ToTheData_ChangesNothing()
    {
        Redirect(4, 0x1_0031);
        _ioApic.Write(0, 4, 0x10 + 8);
        _ioApic.Write(0x10, 1, 0);
        _ioApic.Write(0x10, 2, 0);
        _ioApic.Write(0x11, 4, 0);
        Assert.Equal(0x1_0031u, ReadRegister(0x10 + 8));
    }

    [Fact]
    public void Reset_WithALineHigh_MasksAllAndKeepsTheWire()
    {
        _ioApic.SetInput(6, true);
        _ioApic.Reset();
        Redirect(6, 0x8031);
        Assert.Single(_sent);
    }

    private void Redirect(int input, ulong entry)
    {
        _ioApic.Write(0, 4, (ulong)(0x10 + input * 2 + 1));
        _ioApic.Write(0x10, 4, entry >> 32);
        _ioApic.Write(0, 4, (ulong)(0x10 + input * 2));
        _ioApic.Write(0x10, 4, (uint)entry);
    }

    private uint ReadRegister(int index)
    {
        _ioApic.Write(0, 4, (ulong)index);
        return (uint)_ioApic.Read(0x10, 4);
    }
}
