namespace Vmm.Core.Boot;

/// <summary>A range of the memory map that firmware would hand over (ACPI 6.5, 15: INT 15h E820h).</summary>
/// <param name="Start">First guest-physical address.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Type">What it is.</param>
public readonly record struct MemoryMapEntry(ulong Start, ulong Length, MemoryMapType Type);
