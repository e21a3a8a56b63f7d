using FsCheck.Xunit;
using Vmm.Core.Buses;
using Vmm.Devices.Chipset;
using Vmm.Devices.Serial;
using Vmm.Devices.Tests.Support;

namespace Vmm.Devices.Tests;

/// <summary>Every device under random accesses of every size, with its state saved and loaded half-way, and with garbage for state.</summary>
public class RegisterTrafficTests
{
    public static TheoryData<string> Devices => [.. Makers.Keys];

    private static readonly Dictionary<string, Func<Bench, Traffic.Subject>> Makers = new()
    {
        ["pic"] = bench =>
        {
            var pic = new Pic8259(bench.Drive);
            return new(pic, (pic.MasterPorts, 2), (pic.SlavePorts, 2), (pic.TriggerPorts, 2));
        },
        ["pit"] = bench =>
        {
            var pit = new Pit8254(bench.Clock, bench.Wire.Line());
            return new(pit, (pit, 4), (pit.SpeakerPort, 1));
        },
        ["ioapic"] = _ =>
        {
            var ioApic = new IoApic(static _ => { });
            return new(ioApic, (ioApic, 0x1000));
        },
        ["rtc"] = bench =>
        {
            var rtc = new Rtc146818(bench.Clock, bench.Wire.Line());
            return new(rtc, (rtc, 2));
        },
        ["i8042"] = bench =>
        {
            var controller = new I8042(bench.Wire.Line(1), bench.Wire.Line(12), static () => { });
            return new(controller, (controller.DataPort, 1), (controller.CommandPort, 1));
        },
        ["i8042-no-mouse"] = bench =>
        {
            var controller = new I8042(bench.Wire.Line(1), null, static () => { });
            return new(controller, (controller.DataPort, 1), (controller.CommandPort, 1));
        },
        ["acpi-pm"] = bench =>
        {
            var pm = new AcpiPm(bench.Clock, bench.Wire.Line(), static () => { });
            return new(pm, (pm, AcpiPm.WindowLength));
        },
        ["uart"] = bench =>
        {
            var uart = new Uart16550(bench.Clock, bench.Wire.Line());
            return new(uart, (uart, Uart16550.WindowLength));
        },
        ["fw-cfg"] = _ =>
        {
            var firmware = new FwCfg(new Vmm.Core.Memory.GuestMemory());
            firmware.SetFile("opt/test", new byte[100]);
            return new(firmware, (firmware.SelectorPorts, FwCfg.SelectorLength), (firmware.DmaPorts, FwCfg.DmaLength));
        },
        ["debug-console"] = _ => Simple(new DebugConsole(), 1),
        ["reset"] = _ => Simple(new ResetPort(static () => { }), 1),
        ["port92"] = _ => Simple(new SystemControlPort(static () => { }), 1),
        ["post"] = _ => Simple(new PostPort(), 1),
        ["debug-exit"] = _ => Simple(new DebugExit(static _ => { }), 4),
        ["pvpanic"] = _ => Simple(new PvPanic(static () => { }), 1),
    };

    [Theory]
    [MemberData(nameof(Devices))]
    public void Device_UnderRandomTraffic_SurvivesAndItsStateRoundTrips(string name)
    {
        for (var seed = 0; seed < 60; seed++) Traffic.Run(seed * 7919, Makers[name], Outside);
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void Device_LoadedWithGarbage_StaysUsable(string name)
    {
        for (var seed = 0; seed < 60; seed++) Traffic.RunOnGarbage(seed, Makers[name]);
    }

    [Property(MaxTest = 40)]
    public void Chips_UnderAnySeed_SurviveAndRoundTrip(int seed, byte which) =>
        Traffic.Run(seed, Makers.Values.ElementAt(which % Makers.Count), Outside);

    // What comes from the other side of the device.
    private static void Outside(Random random, Vmm.Core.Devices.IDevice device)
    {
        var bytes = new byte[random.Next(40)];
        random.NextBytes(bytes);
        switch (device)
        {
            case IInterruptSink sink: sink.SetInput(random.Next(26) - 1, random.Next(2) != 0); break;
            case Uart16550 uart when random.Next(8) == 0: uart.ReceiveBreak(); break;
            case Uart16550 uart: uart.Receive(bytes); break;
            case I8042 controller when random.Next(2) == 0: controller.MoveMouse(random.Next(-999, 999), random.Next(-999, 999), bytes.Length == 0 ? (byte)0 : bytes[0]); break;
            case I8042 controller: controller.SendKeys(bytes); break;
            case AcpiPm pm when random.Next(2) == 0: pm.PressPowerButton(); break;
            case AcpiPm pm: pm.RaiseEvent(random.Next(16)); break;
        }
    }

    private static Traffic.Subject Simple<T>(T device, uint length) where T : Vmm.Core.Devices.IDevice, IIoHandler => new(device, (device, length));
}
