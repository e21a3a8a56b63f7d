namespace Vmm.Core.Boot;

/// <summary>E820 types.</summary>
public enum MemoryMapType : uint
{
    /// <summary>Usable RAM.</summary>
    Ram = 1,

    /// <summary>Not for the guest.</summary>
    Reserved = 2,

    /// <summary>ACPI tables, usable once they were read.</summary>
    Acpi = 3,

    /// <summary>ACPI non-volatile storage.</summary>
    Nvs = 4,
}
