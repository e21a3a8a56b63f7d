namespace Vmm.Core;

/// <summary>How a machine ended.</summary>
/// <param name="Kind">What happened.</param>
/// <param name="Code">For a debug exit the value the guest wrote; else zero.</param>
/// <param name="Error">For <see cref="MachineExitKind.Failed"/> the cause.</param>
public sealed record MachineExit(MachineExitKind Kind, uint Code = 0, Exception? Error = null);
