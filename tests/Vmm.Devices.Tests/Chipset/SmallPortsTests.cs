using Vmm.Core;
using Vmm.Devices.Boards;
using Vmm.Devices.Chipset;
using Vmm.Devices.Tests.Support;

namespace Vmm.Devices.Tests.Chipset;

public class SmallPortsTests
{
    [Theory]
    [InlineData(1, 0x12u)]
    [InlineData(2, 0x3412u)]
    [InlineData(4, 0x78563412u)]
    public async Task DebugExit_WrittenInAnySize_EndsTheMachineWithTheValue(int size, uint expected)
    {
        using var machine = new BoardMachine(new MicroVmBoard(), b => b.AddDebugExit(0xF4));
        await machine.Machine.StartAsync(TestContext.Current.CancellationToken);
        machine.Machine.Bus.Ports.Write(0xF4, size, 0x78563412);
        Assert.Equal(new MachineExit(MachineExitKind.DebugExit, expected), await machine.Machine.Completion);
    }

    [Fact]
    public async Task PvPanic_WrittenOne_EndsTheMachine()
    {
        using var machine = new BoardMachine(new MicroVmBoard(), b => b.AddPvPanic());
        await machine.Machine.StartAsync(TestContext.Current.CancellationToken);
        Assert.Equal(3, machine.In(0x505));
        machine.Out(0x505, 2);
        Assert.False(machine.Machine.Completion.IsCompleted);
        machine.Out(0x505, 1);
        Assert.Equal(MachineExitKind.Panicked, (await machine.Machine.Completion).Kind);
    }

    [Fact]
    public void ResetPort_OnlyRisingBit2_Resets()
    {
        var resets = 0;
        var port = new ResetPort(() => resets++);
        foreach (var value in (ulong[])[0x02, 0x0A, 0x00]) port.Write(0, 1, value);
        Assert.Equal(0, resets);
        port.Write(0, 1, 0x06);
        port.Write(0, 1, 0x06);
        Assert.Equal(1, resets);
        port.Write(0, 1, 0x02);
        port.Write(0, 1, 0x0E);
        Assert.Equal(2, resets);
        Assert.Equal(0x0Eul, port.Read(0, 1));
    }

    [Fact]
    public void SystemControlPort_A20AndReset_AreBitsOneAndZero()
    {
        var resets = 0;
        var port = new SystemControlPort(() => resets++);
        port.Reset();
        Assert.Equal(2ul, port.Read(0, 1) & 2);
        port.Write(0, 1, 0);
        Assert.Equal(0ul, port.Read(0, 1) & 2);
        port.Write(0, 1, 3);
        Assert.Equal(1, resets);
    }

    [Fact]
    public void PostPort_Written_ShowsTheLastCode()
    {
        var port = new PostPort();
        port.Write(0, 1, 0x55);
        Assert.Equal(0x55u, port.Code);
        Assert.Equal(0x55ul, port.Read(0, 1));
    }

    [Fact]
    public void DebugExits_OnTwoPorts_LiveTogether()
    {
        using var machine = new BoardMachine(new MicroVmBoard(), b => b.AddDebugExit(0xF4).AddDebugExit(0x501));
        Assert.Equal(0, machine.In(0xF4));
        Assert.Equal(0, machine.In(0x501));
    }
}
