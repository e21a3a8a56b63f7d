using System.Collections.Immutable;
using System.IO.Pipelines;
using Vmm.Core.Boards;
using Vmm.Core.Boot;
using Vmm.Core.Buses;
using Vmm.Devices.Boards.Acpi;
using Vmm.Devices.Pci;
using Vmm.Devices.Serial;

namespace Vmm.Devices.Boards;

/// <summary>
/// "microvm": the least that a stock Linux kernel boots on, described by ACPI. Interrupt controllers (8259s, I/O APIC), PIT, RTC,
/// ACPI power management with power button and reset register, COM1 at 0x3F8, a keyboard controller that is there for its
/// reset line only (ACPI does not tell of it, so that no kernel spends time on it), and 256 windows from 0xFEF00000 for memory-mapped
/// devices. PCI if asked for. RAM from zero to 3 GiB, the rest from 4 GiB on.
/// <para>Tables, in machines of 1 MiB and more: ACPI at 0xE0000, MP floating pointer at 0x9FC10, MP table at 0xF0000.</para>
/// </summary>
public sealed class MicroVmBoard : IBoard, IPciBoard, IMemoryBoard, IAcpiNamespace, ISerialBoard
{
    private readonly PcPlatform _platform = new(hasVgaHole: false, hasKeyboard: false, hasMouse: false);
    private readonly MicroVmOptions _options;

    /// <summary>Makes a board for one machine.</summary>
    /// <param name="options">What it is fitted with; null for the defaults.</param>
    public MicroVmBoard(MicroVmOptions? options = null) => _options = options ?? new MicroVmOptions();

    /// <inheritdoc/>
    public string Name => "microvm";

    /// <summary>COM1.</summary>
    /// <exception cref="InvalidOperationException">The board is not in a machine yet.</exception>
    public Uart16550 Serial { get => field ?? throw new InvalidOperationException("The board is not in a machine yet."); private set; }

    /// <inheritdoc/>
    public PciBus? Pci => _platform.Pci;

    /// <inheritdoc/>
    public ImmutableArray<(ulong Start, ulong Length)> LayOutMemory(ulong bytes) => _platform.LayOutMemory(bytes);

    /// <inheritdoc/>
    public void Attach(MachineContext machine)
    {
        _platform.Attach(machine);
        Serial = _platform.AddSerial(0, _options.Console);
        if (_options.Pci) _platform.AddPci(hasShadowMemory: false);
    }

    /// <inheritdoc/>
    public InterruptLine Line(int gsi) => _platform.Line(gsi);

    /// <inheritdoc/>
    public BoardSlot Place(string name, uint length, string? acpiId) => _platform.Windows.Place(name, length, acpiId);

    /// <inheritdoc/>
    public ulong PlaceMemory(string name, ulong length, ulong alignment) => _platform.PlaceMemory(name, length, alignment);

    /// <inheritdoc/>
    public BootContext WriteTables(MachineContext machine) => _platform.WriteTables(machine, _options.Pci ? "" : "pci=off");

    void IAcpiNamespace.Describe(Action<AmlWriter> objects) => _platform.Describe(objects);

    Uart16550 ISerialBoard.AddSerial(int port, IDuplexPipe? host) => _platform.AddSerial(port, host);
}
