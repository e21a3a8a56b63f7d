namespace Vmm.Core.Backends;

/// <summary>A breakpoint in a debug register.</summary>
/// <param name="Address">Linear address; aligned to <paramref name="Length"/>.</param>
/// <param name="Kind">What it watches.</param>
/// <param name="Length">1, 2, 4 or 8 bytes; 1 for <see cref="HardwareBreakpointKind.Execute"/>.</param>
public readonly record struct HardwareBreakpoint(ulong Address, HardwareBreakpointKind Kind = HardwareBreakpointKind.Execute, int Length = 1);
