using Vmm.Core.Buses;

namespace Vmm.Core.Boards;

/// <summary>Where a board has put a device.</summary>
/// <param name="Address">Guest-physical address of its window.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Gsi">Its global system interrupt.</param>
/// <param name="Line">The wire to it.</param>
public sealed record BoardSlot(ulong Address, uint Length, int Gsi, InterruptLine Line);
