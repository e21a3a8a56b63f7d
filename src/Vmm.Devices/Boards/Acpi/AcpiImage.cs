using System.Collections.Immutable;

namespace Vmm.Devices.Boards.Acpi;

/// <summary>All ACPI tables as they lie in memory, RSDP first, with what must change when they are moved.</summary>
/// <param name="Bytes">The image.</param>
/// <param name="Pointers">Where in the image addresses of tables are, and of how many bytes.</param>
/// <param name="Checksums">Where in the image checksums over such addresses are, and over what: in the order in which to mend them.</param>
internal sealed record AcpiImage(byte[] Bytes, ImmutableArray<(int Offset, int Size)> Pointers, ImmutableArray<(int Offset, int Start, int Length)> Checksums);
