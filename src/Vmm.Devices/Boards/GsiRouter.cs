// MultiProcessor Specification 1.4, 3.6.2 "Virtual wire mode" and "Symmetric I/O mode"; ACPI 6.5, 5.2.13 "Global System Interrupts".
using Vmm.Core.Buses;
using Vmm.Devices.Chipset;

namespace Vmm.Devices.Boards;

/// <summary>
/// Leads each global system interrupt to its input of the I/O APIC and, for the ISA interrupts, of the 8259s as well. Several lines
/// may share one: it is asserted while any of them is. IRQ 0 of the 8259s is GSI 2, since the cascade has no wire of its own.
/// </summary>
internal sealed class GsiRouter(Pic8259 pic, IoApic ioApic) : IInterruptSink
{
    private const int TimerGsi = 2, IsaCount = 16;

    private readonly int[] _asserted = new int[Chipset.IoApic.InputCount];

    /// <summary>A new line to a global system interrupt.</summary>
    public InterruptLine Line(int gsi)
    {
        if (gsi is < 0 or >= Chipset.IoApic.InputCount) throw new ArgumentOutOfRangeException(nameof(gsi), gsi, $"This board has global system interrupts 0 to {Chipset.IoApic.InputCount - 1}.");
        return new InterruptLine(this, gsi);
    }

    /// <summary>A new line to an ISA interrupt.</summary>
    public InterruptLine IsaLine(int irq) => Line(irq == 0 ? TimerGsi : irq);

    public void SetInput(int input, bool level)
    {
        lock (this)
        {
            var count = _asserted[input] += level ? 1 : -1;
            if (count != (level ? 1 : 0)) return;
            if (input is > 0 and < IsaCount) pic.SetInput(input == TimerGsi ? 0 : input, level);
            ioApic.SetInput(input, level);
        }
    }
}
