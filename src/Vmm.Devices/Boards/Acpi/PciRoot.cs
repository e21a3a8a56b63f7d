// PCI Firmware Specification 3.3, 4.5 "_OSC", 4.6 "PCI host bridge"; ACPI 6.5, 6.2.13 "_PRT", 6.3 "Device Insertion, Removal, and Status Objects".
using System.Globalization;
using Vmm.Devices.Pci;

namespace Vmm.Devices.Boards.Acpi;

/// <summary>The PCI host bridge in the DSDT: its windows, interrupt routing, and the slots of devices that come and go.</summary>
internal static class PciRoot
{
    private const string Bridge = "\\_SB.PCI0", Region = "HPR", Plugged = "HPUP", Requested = "HPRQ", Eject = "HPEJ", Removable = "HPRM", NotifySlots = "HPNT", Handle = "HPEV";
    private const int PinCount = 4;
    private const ulong AnyFunction = 0xFFFF, DeviceCheck = 1, EjectRequest = 3;

    // PME, AER and the capability structure are the guest's to use as it likes; there is nothing behind native hot plug.
    private const ulong GrantedControl = 0x1C, UnrecognizedUuid = 0x04, CapabilitiesMasked = 0x10;

    // 33DB4D5B-1FF7-401C-9657-7441C03DD766
    private static byte[] Uuid => new Guid("33DB4D5B-1FF7-401C-9657-7441C03DD766").ToByteArray();

    public static void Describe(AmlWriter aml, PciWindows windows)
    {
        aml.Scope("_SB", system => system.Device("PCI0", bridge =>
        {
            bridge.NameId("_HID", "PNP0A08");
            bridge.NameId("_CID", "PNP0A03");
            bridge.Name("_UID", 0);
            bridge.Name("_SEG", 0);
            bridge.Name("_BBN", 0);
            bridge.Resources(r =>
            {
                r.BusNumbers(0, 0);
                r.Io(BoardPorts.PciAddress, 2 * BoardPorts.PciPortCount);
                r.Ports((ushort)windows.IoStart, (ushort)(windows.IoEnd - 1));
                r.LowMemory((uint)windows.LowStart, (uint)(windows.LowEnd - 1));
                r.HighMemory(windows.HighStart, windows.HighEnd - 1);
            });
            bridge.NamePackages("_PRT", [.. from device in Devices from pin in Enumerable.Range(0, PinCount) select Route(device, pin)]);
            Negotiate(bridge);
            bridge.PortFields(Region, BoardPorts.PciHotPlug, (byte)PciHotPlug.WindowLength, Plugged, Requested, Eject, Removable);
            foreach (var device in Devices) Slot(bridge, device);
            Notifications(bridge);
        }));
        aml.Scope("_GPE", events => events.Method(string.Create(CultureInfo.InvariantCulture, $"_E{BoardPorts.PciHotPlugEvent:X2}"), 0, m => m.Call($"{Bridge}.{Handle}")));
    }

    private static IEnumerable<int> Devices => Enumerable.Range(1, PciBus.DeviceCount - 1);

    private static ulong[] Route(int device, int pin) => [(ulong)device << 16 | AnyFunction, (ulong)pin, 0, (ulong)(BoardPorts.FirstPciGsi + (device + pin) % PinCount)];

    private static string SlotName(int device) => string.Create(CultureInfo.InvariantCulture, $"S{device:X3}");

    private static byte[] Bit(int device) => AmlWriter.Number(1UL << device);

    private static void Slot(AmlWriter bridge, int device) => bridge.Device(SlotName(device), slot =>
    {
        slot.Name("_ADR", (ulong)device << 16);
        slot.Name("_SUN", (ulong)device);
        slot.Method("_EJ0", 1, m => m.Store(Bit(device), AmlWriter.Object(Eject)));
    });

    // Taking notice comes before the notification: what is plugged in meanwhile raises the event again.
    private static void Notifications(AmlWriter bridge)
    {
        bridge.Method(NotifySlots, 2, m =>
        {
            foreach (var device in Devices) m.If(AmlWriter.And(AmlWriter.Arg(0), Bit(device)), then => then.Notify(SlotName(device), AmlWriter.Arg(1)));
        });
        bridge.Method(Handle, 0, m =>
        {
            foreach (var (register, code) in ((string, ulong)[])[(Plugged, DeviceCheck), (Requested, EjectRequest)])
            {
                m.Store(AmlWriter.Object(register), AmlWriter.Local(0));
                m.Store(AmlWriter.Local(0), AmlWriter.Object(register));
                m.Call(NotifySlots, AmlWriter.Local(0), AmlWriter.Number(code));
            }
        });
    }

    private static void Negotiate(AmlWriter bridge) => bridge.Method("_OSC", 4, m =>
    {
        byte[] status = AmlWriter.Object("CDW1"), control = AmlWriter.Object("CDW3"), granted = AmlWriter.Local(0);
        m.CreateDWordField(AmlWriter.Arg(3), 0, "CDW1");
        m.If(AmlWriter.Equal(AmlWriter.Arg(0), AmlWriter.Buffer(Uuid)), known =>
        {
            known.CreateDWordField(AmlWriter.Arg(3), 8, "CDW3");
            known.And(control, AmlWriter.Number(GrantedControl), granted);
            known.If(AmlWriter.Not(AmlWriter.Equal(control, granted)), less => less.Or(status, AmlWriter.Number(CapabilitiesMasked), status));
            known.Store(granted, control);
            known.Return(AmlWriter.Arg(3));
        });
        m.Or(status, AmlWriter.Number(UnrecognizedUuid), status);
        m.Return(AmlWriter.Arg(3));
    });
}
