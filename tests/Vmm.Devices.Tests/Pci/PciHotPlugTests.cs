using Vmm.Core;
using Vmm.Core.Buses;
using Vmm.Core.Time;
using Vmm.Devices.Pci;
using Vmm.TestSupport.Pci;

namespace Vmm.Devices.Tests.Pci;

public class PciHotPlugTests
{
    private const ushort HotPlug = 0x620, Gpe = 0x60C;
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Plug_IntoARunningMachine_AppearsAndRaisesTheEvent()
    {
        using var machine = await StartedAsync();
        machine.Ports.Write(Gpe + 2, 2, 1 << 1);
        machine.Ports.Write(0x605, 1, 0);
        Redirect(machine, 9, 0x8050);
        using var function = new ScratchFunction();
        await machine.Machine.PlugAsync(m => m.AddPciFunction("extra", function), Cancel);
        Assert.Equal(0x5C4A1234u, machine.Config(2, 0, 4));
        Assert.Equal(1u << 2, machine.Ports.Read(HotPlug, 4));
        Assert.Equal(2u, machine.Ports.Read(Gpe, 2));
        Assert.Single(machine.Messages);
        Assert.Contains(machine.Machine.Context.Devices, d => d.Name == "extra");
        machine.Ports.Write(HotPlug, 4, 1 << 2);
        Assert.Equal(0u, machine.Ports.Read(HotPlug, 4));
        Assert.Equal(6u, machine.Ports.Read(HotPlug + 12, 4));
    }

    [Fact]
    public async Task Plug_IntoAMachineThatIsNotStarted_IsThereAtStart()
    {
        using var machine = new PciMachine();
        await machine.Machine.PlugAsync(m => m.AddPciFunction("extra", new ScratchFunction()), Cancel);
        await machine.Machine.StartAsync(Cancel);
        Assert.Equal(0x5C4A1234u, machine.Config(2, 0, 4));
    }

    [Fact]
    public async Task Plug_ThatFails_LeavesNothing()
    {
        using var machine = await StartedAsync();
        using var function = new ScratchFunction();
        var thrown = await Assert.ThrowsAsync<ArgumentException>(() => machine.Machine.PlugAsync(
            m =>
            {
                m.AddPciFunction("extra", function);
                m.AddPciFunction("scratch0", new ScratchFunction());
            },
            Cancel));
        Assert.Contains("scratch0", thrown.Message, StringComparison.Ordinal);
        Assert.True(function.IsDisposed);
        Assert.Equal(0xFFFF_FFFFu, machine.Config(2, 0, 4));
        Assert.DoesNotContain(machine.Machine.Context.Devices, d => d.Name == "extra");
        await machine.Machine.PlugAsync(m => m.AddPciFunction("extra", new ScratchFunction()), Cancel);
    }

    [Fact]
    public async Task Unplug_WhenTheGuestEjects_TakesTheDeviceAndFreesIt()
    {
        using var machine = await StartedAsync();
        machine.Place(1, 0, 0xD000_0000);
        machine.Functions[0].Interrupt(0);
        var unplugging = machine.Machine.UnplugAsync("scratch0", Patience, Cancel);
        while (machine.Ports.Read(HotPlug + 4, 4) != 2) await Task.Yield();
        Assert.Equal(2u, machine.Ports.Read(Gpe, 2));
        Assert.Equal(0x5C4A1234u, machine.Config(1, 0, 4));
        machine.Ports.Write(HotPlug + 8, 4, 1 << 1);
        Assert.Equal(0xFFFF_FFFFu, machine.Config(1, 0, 4));
        Assert.Equal(0xFFFF_FFFFu, machine.Mmio.Read(0xD000_0000, 4));
        Assert.Equal(UnplugResult.Unplugged, await unplugging);
        Assert.True(machine.Functions[0].IsDisposed);
        Assert.DoesNotContain(machine.Machine.Context.Devices, d => d.Name == "scratch0");
        Assert.Equal(0u, machine.Ports.Read(HotPlug + 4, 4));
        machine.Functions[0].Interrupt(0); // of a device that has gone nothing arrives
        Assert.Empty(machine.Messages);
    }

    [Fact]
    public async Task Unplug_WhenTheGuestDoesNothing_TimesOutAndTheDeviceStays()
    {
        using var machine = await StartedAsync();
        Assert.Equal(UnplugResult.TimedOut, await machine.Machine.UnplugAsync("scratch0", TimeSpan.FromMilliseconds(20), Cancel));
        Assert.Equal(0x5C4A1234u, machine.Config(1, 0, 4));
        Assert.Equal(0u, machine.Ports.Read(HotPlug + 4, 4));
        Assert.False(machine.Functions[0].IsDisposed);
    }

    [Fact]
    public async Task Unplug_WhenTheMachineEnds_SaysSo()
    {
        using var machine = await StartedAsync();
        var unplugging = machine.Machine.UnplugAsync("scratch0", Patience, Cancel);
        await machine.Machine.KillAsync();
        Assert.Equal(UnplugResult.MachineEnded, await unplugging);
        machine.Dispose();
        Assert.True(machine.Functions[0].IsDisposed);
    }

    [Fact]
    public async Task Unplug_OfAMachineNotStarted_IsImmediate()
    {
        using var machine = new PciMachine();
        Assert.Equal(UnplugResult.Unplugged, await machine.Machine.UnplugAsync("scratch0", TimeSpan.Zero, Cancel));
        Assert.True(machine.Functions[0].IsDisposed);
        Assert.Equal(0xFFFF_FFFFu, machine.Config(1, 0, 4));
    }

    [Fact]
    public async Task Unplug_OfWhatCannotLeave_IsTheCallersMistake()
    {
        using var machine = await StartedAsync();
        await Assert.ThrowsAsync<InvalidOperationException>(() => machine.Machine.UnplugAsync("com1", Patience, Cancel));
        await Assert.ThrowsAsync<InvalidOperationException>(() => machine.Machine.UnplugAsync("pci-host", Patience, Cancel));
        await Assert.ThrowsAsync<ArgumentException>(() => machine.Machine.UnplugAsync("nobody", Patience, Cancel));
    }

    [Fact]
    public async Task Eject_ByTheGuestAlone_FreesTheDeviceAndItsNameAndSlot()
    {
        using var machine = await StartedAsync();
        for (var i = 0; i < 10; i++)
        {
            var function = new ScratchFunction();
            await machine.Machine.PlugAsync(m => m.AddPciFunction("guest", function), Cancel);
            machine.Place(2, 0, 0xD000_0000);
            Assert.Equal(ScratchFunction.Id, machine.Mmio.Read(0xD000_0000, 4));
            machine.Ports.Write(HotPlug + 8, 4, 1 << 2);
            while (!function.IsDisposed) await Task.Yield();
        }
    }

    [Fact]
    public async Task Eject_JustBeforeDispose_StillFreesTheDevice()
    {
        var machine = await StartedAsync();
        machine.Ports.Write(HotPlug + 8, 4, 1 << 1);
        await machine.Machine.DisposeAsync();
        Assert.True(machine.Functions[0].IsDisposed);
    }

    [Fact]
    public async Task Timer_OfADeviceThatHasGone_DoesNotFire()
    {
        using var machine = await StartedAsync();
        var function = machine.Functions[0];
        var fired = 0;
        var timer = machine.Machine.Clock.CreateTimer(function, () => fired++);
        VmTimer other = machine.Machine.Clock.CreateTimer(new object(), () => { });
        lock (function) timer.Arm(long.MaxValue - 1);
        machine.Ports.Write(HotPlug + 8, 4, 1 << 1);
        lock (function) timer.Arm(0);
        other.Arm(0);
        Assert.Equal(long.MaxValue, timer.Deadline);
        while (!function.IsDisposed) await Task.Yield();
        Assert.Equal(0, fired);
    }

    [Fact]
    public async Task Pause_DuringPlugsAndEjects_IsNeverDisturbed()
    {
        using var machine = await StartedAsync();
        for (var i = 0; i < 50; i++)
        {
            var plugging = machine.Machine.PlugAsync(m => m.AddPciFunction("extra", new ScratchFunction(), 7), Cancel);
            var pausing = machine.Machine.PauseAsync(Cancel);
            await plugging;
            machine.Ports.Write(HotPlug + 8, 4, 1 << 7);
            await pausing;
            Assert.Equal(MachineState.Paused, machine.Machine.State);
            await machine.Machine.ResumeAsync(Cancel);
        }
    }

    [Fact]
    public async Task EjectRegister_WithEveryBit_LeavesTheHostBridge()
    {
        using var machine = await StartedAsync();
        machine.Ports.Write(HotPlug + 8, 4, 0xFFFF_FFFF);
        Assert.Equal(0x00081B36u, machine.Config(0, 0, 4));
        Assert.Equal(0u, machine.Ports.Read(HotPlug + 12, 4));
    }

    private static async Task<PciMachine> StartedAsync()
    {
        var machine = new PciMachine();
        await machine.Machine.StartAsync(Cancel);
        return machine;
    }

    private static void Redirect(PciMachine machine, int input, ulong entry)
    {
        machine.Mmio.Write(0xFEC0_0000, 4, (ulong)(0x10 + input * 2));
        machine.Mmio.Write(0xFEC0_0010, 4, (uint)entry);
    }
}
