// ACPI 6.5, 5.3 "ACPI Namespace", 6.1 "Device Identification Objects", 7.4.2 "_S5".
using System.Globalization;
using Vmm.Core.Boards;
using Vmm.Devices.Chipset;
using Vmm.Devices.Pci;

namespace Vmm.Devices.Boards.Acpi;

/// <summary>The differentiated system description table: what is on the board.</summary>
internal static class Dsdt
{
    public static byte[] Build(int cpus, IEnumerable<int> serialPorts, bool keyboard, bool mouse, IEnumerable<(string? AcpiId, BoardSlot Slot)> placed, PciWindows? pci, IEnumerable<Action<AmlWriter>> others)
    {
        var aml = new AmlWriter();
        aml.NamePackage("_S5", AcpiPm.SoftOff, AcpiPm.SoftOff, 0, 0);
        aml.Scope("_SB", system =>
        {
            for (var i = 0; i < cpus; i++) Device(system, string.Create(CultureInfo.InvariantCulture, $"C{i:X3}"), "ACPI0007", i, null);
            Motherboard(system, pci);
            Device(system, "RTC", "PNP0B00", null, r =>
            {
                r.Io(BoardPorts.Rtc, 2);
                r.Irq(8);
            });
            foreach (var port in serialPorts)
            {
                Device(system, $"COM{port + 1}", "PNP0501", port + 1, r =>
                {
                    r.Io(BoardPorts.Serial[port], 8);
                    r.Irq(BoardPorts.SerialIrq[port]);
                });
            }

            if (keyboard)
            {
                Device(system, "KBD", "PNP0303", null, r =>
                {
                    r.Io(BoardPorts.Keyboard, 1);
                    r.Io(BoardPorts.KeyboardCommand, 1);
                    r.Irq(1);
                });
            }

            if (mouse) Device(system, "MOU", "PNP0F13", null, r => r.Irq(12));
            var number = 0;
            foreach (var (id, slot) in placed)
            {
                if (id is null) continue;
                var unit = number++;
                Device(system, string.Create(CultureInfo.InvariantCulture, $"V{unit:X3}"), id, unit, r =>
                {
                    r.Memory32((uint)slot.Address, slot.Length);
                    r.SharedLevelInterrupt(slot.Gsi);
                });
            }

            foreach (var describe in others) describe(system);
        });
        if (pci is not null) PciRoot.Describe(aml, pci);
        return new AcpiTable("DSDT", 2).Bytes(aml.ToArray()).ToArray();
    }

    /// <summary>A device with an id, a unit number where there may be several, and resources.</summary>
    public static void Device(AmlWriter scope, string name, string id, int? unit, Action<AmlWriter>? resources) => scope.Device(name, device =>
    {
        device.NameId("_HID", id);
        if (unit is { } number) device.Name("_UID", (ulong)number);
        if (resources is not null) device.Resources(resources);
    });

    // The addresses of chips that no driver claims by an id.
    private static void Motherboard(AmlWriter system, PciWindows? pci) => Device(system, "MBRD", "PNP0C02", 0, r =>
    {
        if (pci is not null)
        {
            r.Io(BoardPorts.PciHotPlug, (byte)PciHotPlug.WindowLength);
            r.Memory32((uint)pci.EcamBase, PciWindows.EcamLength);
        }

        r.Io(BoardPorts.AcpiPm, (byte)AcpiPm.WindowLength);
        r.Io(BoardPorts.Elcr, 2);
        r.Io(BoardPorts.Reset, 1);
    });
}
