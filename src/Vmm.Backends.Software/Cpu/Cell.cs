namespace Vmm.Backends.Software.Cpu;

/// <summary>Where a read-modify-write goes: host memory, or (Host zero) a linear address that takes the slow path.</summary>
internal struct Cell
{
    public nint Host;
    public ulong Linear;

    /// <summary>The page has decoded code; <see cref="Linear"/> is the guest-physical address.</summary>
    public bool Marked;
}
