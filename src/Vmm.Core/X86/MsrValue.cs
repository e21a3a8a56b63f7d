using System.Runtime.InteropServices;

namespace Vmm.Core.X86;

/// <summary>A model-specific register and its value.</summary>
/// <param name="Index">ECX of RDMSR.</param>
/// <param name="Value">EDX:EAX.</param>
[StructLayout(LayoutKind.Sequential, Pack = 4)]
public record struct MsrValue(uint Index, ulong Value);
