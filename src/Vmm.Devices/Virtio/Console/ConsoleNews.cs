namespace Vmm.Devices.Virtio.Console;

/// <summary>What the driver is still to be told of a port, in this order. However often it changes, it is told once: nothing piles up.</summary>
[Flags]
internal enum ConsoleNews : byte
{
    None = 0,
    Add = 1 << 0,
    Console = 1 << 1,
    Size = 1 << 2,
    Name = 1 << 3,
    Open = 1 << 4,
    All = Add | Console | Size | Name | Open,
}
