using Vmm.Core;
using Vmm.Core.Boards;

namespace CustomDevice;

/// <summary>Fits machines with an alarm clock.</summary>
public static class AlarmClockExtensions
{
    /// <summary>Adds an alarm clock where the board has room for it.</summary>
    /// <param name="builder">The machine.</param>
    /// <param name="placed">Told the address and interrupt that the board has chosen.</param>
    public static VirtualMachineBuilder AddAlarmClock(this VirtualMachineBuilder builder, Action<BoardSlot>? placed = null) => builder.AddPart(machine =>
    {
        var slot = machine.Board.Place("alarm-clock", AlarmClock.WindowLength, acpiId: "VMM0A1A2");
        var device = new AlarmClock(machine.Clock, slot.Line);
        machine.AddDevice("alarm-clock", device);
        machine.Bus.Mmio.Map(slot.Address, AlarmClock.WindowLength, device);
        placed?.Invoke(slot);
    });
}
