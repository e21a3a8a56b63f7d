using Vmm.Devices.Pci;

namespace Vmm.Devices.Boards;

/// <summary>A board that may have a PCI bus.</summary>
public interface IPciBoard
{
    /// <summary>The bus; null on a board without one, or that is not in a machine yet.</summary>
    PciBus? Pci { get; }
}
