namespace Vmm.Devices.Boards;

/// <summary>A board with room in its address space for memory that is not RAM: of devices, and found by their drivers.</summary>
public interface IMemoryBoard
{
    /// <summary>Finds free guest-physical addresses, above all RAM. They are taken when a region is added there (<see cref="Core.Boards.MachineContext.AddMemory"/>).</summary>
    /// <param name="name">The device's name, for messages.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="alignment">What the start shall be a multiple of: a power of two.</param>
    /// <exception cref="InvalidOperationException">There is no room left, or the board is not in a machine yet.</exception>
    ulong PlaceMemory(string name, ulong length, ulong alignment);
}
