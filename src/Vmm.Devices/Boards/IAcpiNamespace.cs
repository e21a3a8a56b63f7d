using Vmm.Devices.Boards.Acpi;

namespace Vmm.Devices.Boards;

/// <summary>A board whose DSDT devices at fixed ports may add themselves to.</summary>
internal interface IAcpiNamespace
{
    /// <summary>Adds objects to the scope \_SB.</summary>
    void Describe(Action<AmlWriter> objects);
}
