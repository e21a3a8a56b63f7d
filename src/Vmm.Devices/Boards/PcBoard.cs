using System.Collections.Immutable;
using System.IO.Pipelines;
using Vmm.Core.Boards;
using Vmm.Core.Boot;
using Vmm.Core.Buses;
using Vmm.Devices.Boards.Acpi;
using Vmm.Devices.Chipset;
using Vmm.Devices.Pci;
using Vmm.Devices.Serial;

namespace Vmm.Devices.Boards;

/// <summary>
/// "pc": the chips of <see cref="MicroVmBoard"/> with keyboard and mouse, COM1 and COM2, a PCI bus, and the memory map that firmware and old
/// systems expect: no RAM at 0xA0000-0xBFFFF, where a display adapter would be, shadow RAM from 0xC0000, room for a ROM below 4 GiB, and what
/// SeaBIOS asks for: fw_cfg at 0x510, a debug port at 0x402, memory sizes in the RTC's memory.
/// <para>Tables, in machines of 1 MiB and more: ACPI at 0xE0000, MP floating pointer at 0x9FC10, MP table at 0xF0000; firmware that is
/// booted overwrites them with its own.</para>
/// </summary>
public sealed class PcBoard : IBoard, IPciBoard, IMemoryBoard, IAcpiNamespace, ISerialBoard
{
    private readonly PcPlatform _platform;
    private readonly PcOptions _options;

    /// <summary>Makes a board for one machine.</summary>
    /// <param name="options">What it is fitted with; null for the defaults.</param>
    public PcBoard(PcOptions? options = null)
    {
        _options = options ?? new PcOptions();
        _platform = new PcPlatform(hasVgaHole: true, hasKeyboard: true, _options.Mouse);
    }

    /// <inheritdoc/>
    public string Name => "pc";

    /// <summary>COM1.</summary>
    /// <exception cref="InvalidOperationException">The board is not in a machine yet.</exception>
    public Uart16550 Serial { get => field ?? throw new InvalidOperationException("The board is not in a machine yet."); private set; }

    /// <summary>What firmware wrote to its debug port.</summary>
    /// <exception cref="InvalidOperationException">The board is not in a machine yet.</exception>
    public DebugConsole FirmwareLog { get => field ?? throw new InvalidOperationException("The board is not in a machine yet."); private set; }

    /// <summary>The keyboard controller.</summary>
    /// <exception cref="InvalidOperationException">The board is not in a machine yet.</exception>
    public I8042 Keyboard => _platform.Keyboard ?? throw new InvalidOperationException("The board is not in a machine yet.");

    /// <inheritdoc/>
    public PciBus? Pci => _platform.Pci;

    /// <inheritdoc/>
    public ImmutableArray<(ulong Start, ulong Length)> LayOutMemory(ulong bytes) => _platform.LayOutMemory(bytes);

    /// <inheritdoc/>
    public void Attach(MachineContext machine)
    {
        _platform.Attach(machine);
        Serial = _platform.AddSerial(0, _options.Console);
        _platform.AddSerial(1, _options.SecondConsole);
        _platform.AddPci(hasShadowMemory: true);
        var firmware = _platform.AddFirmwareSupport();
        foreach (var (name, content) in _options.FirmwareFiles) firmware.SetFile(name, content);
        FirmwareLog = new DebugConsole(_options.DebugOutput);
        machine.AddDevice("debug-console", FirmwareLog);
        machine.Bus.Ports.Map(DebugConsole.FirmwarePort, 1, FirmwareLog);
    }

    /// <inheritdoc/>
    public InterruptLine Line(int gsi) => _platform.Line(gsi);

    /// <inheritdoc/>
    public BoardSlot Place(string name, uint length, string? acpiId) => _platform.Windows.Place(name, length, acpiId);

    /// <inheritdoc/>
    public ulong PlaceMemory(string name, ulong length, ulong alignment) => _platform.PlaceMemory(name, length, alignment);

    /// <inheritdoc/>
    public BootContext WriteTables(MachineContext machine) => _platform.WriteTables(machine, "");

    void IAcpiNamespace.Describe(Action<AmlWriter> objects) => _platform.Describe(objects);

    Uart16550 ISerialBoard.AddSerial(int port, IDuplexPipe? host) => _platform.AddSerial(port, host);
}
