using System.Collections.Immutable;
using Vmm.Core.Boot;
using Vmm.Core.Buses;

namespace Vmm.Core.Boards;

/// <summary>
/// A main board: it decides addresses and interrupt numbers, which chips exist, and what is told to the guest of them.
/// Made by a factory for each machine (see <see cref="VirtualMachineBuilder.WithBoard"/>); in order: <see cref="LayOutMemory"/>, <see cref="Attach"/>,
/// then the user's devices attach, then <see cref="WriteTables"/> before each start.
/// </summary>
public interface IBoard
{
    /// <summary>The short name: "microvm", "pc".</summary>
    string Name { get; }

    /// <summary>Where RAM of a size goes: ranges of (start, length) outside the board's holes.</summary>
    /// <param name="bytes">Bytes of RAM; a multiple of 4096.</param>
    ImmutableArray<(ulong Start, ulong Length)> LayOutMemory(ulong bytes);

    /// <summary>Puts the board's own chips onto the buses.</summary>
    /// <param name="machine">The machine that is being built.</param>
    void Attach(MachineContext machine);

    /// <summary>A new line to a global system interrupt; several devices may share one.</summary>
    /// <param name="gsi">The global system interrupt number.</param>
    /// <exception cref="ArgumentOutOfRangeException">The board has no such input.</exception>
    InterruptLine Line(int gsi);

    /// <summary>Finds a free memory window and interrupt for a device.</summary>
    /// <param name="name">The device's name, for messages and tables.</param>
    /// <param name="length">Window size in bytes; rounded up to a page.</param>
    /// <param name="acpiId">The _HID under which ACPI describes it (such as "LNRO0005"); null for no description.</param>
    /// <exception cref="InvalidOperationException">No window or interrupt is left.</exception>
    BoardSlot Place(string name, uint length, string? acpiId);

    /// <summary>Writes the tables that describe the machine (ACPI, MP) into guest memory and tells the loader of them.</summary>
    /// <param name="machine">The machine, complete.</param>
    BootContext WriteTables(MachineContext machine);
}
