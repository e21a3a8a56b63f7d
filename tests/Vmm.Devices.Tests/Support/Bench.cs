using Vmm.Core.Buses;
using Vmm.Core.Devices;
using Vmm.Core.Time;

namespace Vmm.Devices.Tests.Support;

/// <summary>One device on a bench: ports, a clock moved by hand, and wires. Tests see it as a guest does.</summary>
internal sealed class Bench
{
    public static readonly DateTimeOffset Start = new(2026, 3, 14, 15, 9, 26, TimeSpan.Zero);

    public VmClock Clock { get; } = new(new FixedTime(Start), nanosecondsPerInstruction: 1);

    public IoBus Ports { get; } = new("port", 1 << 16);

    public Wire Wire { get; } = new();

    public byte In(ushort port) => (byte)Ports.Read(port, 1);

    public void Out(ushort port, byte value) => Ports.Write(port, 1, value);

    /// <summary>Lets guest time pass; timers fire at their deadlines, not all at the end.</summary>
    public void Pass(long nanoseconds)
    {
        var end = Clock.Now + nanoseconds;
        while (Clock.NextDeadline <= end) Clock.Advance(Math.Max(Clock.NextDeadline, Clock.Now));
        Clock.Advance(end);
    }

    /// <summary>The time comes late: timers fire when it is over, as on a busy host.</summary>
    public void PassLate(long nanoseconds) => Clock.Advance(Clock.Now + nanoseconds);

    public T Plug<T>(T device, ushort port, uint length) where T : IDevice, IIoHandler
    {
        Ports.Map(port, length, device);
        device.Reset();
        return device;
    }

    /// <summary>An output that may be told the level it has already.</summary>
    public void Drive(bool level)
    {
        if (Wire.Levels[0] != level) Wire.SetInput(0, level);
    }
}
