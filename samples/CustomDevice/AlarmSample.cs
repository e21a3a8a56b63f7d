using Vmm;
using Vmm.Core;
using Vmm.Core.Boards;
using Vmm.Core.Boot;
using Vmm.Devices.Serial;

namespace CustomDevice;

/// <summary>A machine with an alarm clock, and a guest that lives by it.</summary>
public static class AlarmSample
{
    /// <summary>Runs it to its end.</summary>
    /// <param name="times">How many alarms the guest sets, one after another.</param>
    /// <param name="microseconds">The delay of each.</param>
    /// <returns>What the guest printed, how it ended, and the guest time at its end, in nanoseconds.</returns>
    public static async Task<(string Output, MachineExit Exit, long GuestTime)> RunAsync(int times, int microseconds)
    {
        var console = new ConsolePipe();
        BoardSlot? slot = null;
        var builder = VmmHost.CreateBuilder(console).WithName("alarm").WithProgram(AlarmGuest.Assemble(times, microseconds)).AddAlarmClock(s => slot = s);
        await using var vm = builder.Build();
        vm.Memory.TryWrite(AlarmGuest.Mailbox, slot!.Address);
        vm.Memory.TryWrite(AlarmGuest.Mailbox + 8, slot.Gsi);
        await vm.StartAsync();
        var exit = await vm.Completion;
        var time = vm.Clock.Now;
        await vm.DisposeAsync(); // closes the console's other end, behind what was said last
        return (await console.ReadToEndAsync(), exit, time);
    }
}
