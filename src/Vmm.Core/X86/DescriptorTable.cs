using System.Runtime.InteropServices;

namespace Vmm.Core.X86;

/// <summary>GDTR or IDTR.</summary>
/// <param name="Base">Linear address of the table.</param>
/// <param name="Limit">Offset of its last byte.</param>
[StructLayout(LayoutKind.Sequential)]
public record struct DescriptorTable(ulong Base, ushort Limit);
