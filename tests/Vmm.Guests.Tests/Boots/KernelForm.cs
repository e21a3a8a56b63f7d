namespace Vmm.Guests.Tests.Boots;

/// <summary>How a kernel is handed over.</summary>
public enum KernelForm
{
    BzImage,
    Elf,
    Pvh,
}
