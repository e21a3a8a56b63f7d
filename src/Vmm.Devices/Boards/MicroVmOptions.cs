using System.IO.Pipelines;

namespace Vmm.Devices.Boards;

/// <summary>What a <see cref="MicroVmBoard"/> is fitted with.</summary>
public sealed record MicroVmOptions
{
    /// <summary>The other end of COM1; null throws the guest's output away. One machine's: make it in the board's factory.</summary>
    public IDuplexPipe? Console { get; init; }

    /// <summary>Whether there is a PCI bus, for PCI devices and for plugging them in while the guest runs.</summary>
    public bool Pci { get; init; }
}
