using System.Collections.Immutable;
using Vmm.Core.Boards;
using Vmm.Core.Boot;
using Vmm.Core.Buses;

namespace Vmm.TestSupport.Machines;

/// <summary>A board without chips: RAM from zero, windows from 0xD0000000, lines that record their level.</summary>
public sealed class FakeBoard : IBoard, IInterruptSink
{
    private ulong _nextWindow = 0xD000_0000;
    private int _nextGsi = 16;

    public string Name => "fake";

    /// <summary>The levels of the interrupt inputs.</summary>
    public bool[] Levels { get; } = new bool[64];

    /// <summary>Set to give the machine a power button.</summary>
    public Action<MachineContext>? PowerButton { get; init; }

    /// <summary>More to do at <see cref="Attach"/>.</summary>
    public Action<MachineContext>? Attached { get; init; }

    public ImmutableArray<(ulong Start, ulong Length)> LayOutMemory(ulong bytes) => [(0, bytes)];

    public void Attach(MachineContext machine)
    {
        if (PowerButton is { } press) machine.PowerButtonPressed += () => press(machine);
        Attached?.Invoke(machine);
    }

    public InterruptLine Line(int gsi) => (uint)gsi < 64 ? new InterruptLine(this, gsi) : throw new ArgumentOutOfRangeException(nameof(gsi));

    public BoardSlot Place(string name, uint length, string? acpiId)
    {
        var address = _nextWindow;
        _nextWindow += (length + 0xFFFu) & ~0xFFFUL;
        return new BoardSlot(address, length, _nextGsi, Line(_nextGsi++));
    }

    public BootContext WriteTables(MachineContext machine) =>
        new(machine.Memory, [.. machine.Memory.Regions.Select(r => new MemoryMapEntry(r.Start, r.Length, MemoryMapType.Ram))], 0, machine.Partition.Vcpus.Count, "");

    public void SetInput(int input, bool level) => Volatile.Write(ref Levels[input], level);
}
