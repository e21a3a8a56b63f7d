namespace Vmm.Core.Backends;

/// <summary>Which of the host's stops ended a run with <see cref="VcpuStopKind.Debug"/>.</summary>
/// <param name="Cause">What it was.</param>
/// <param name="Address">The linear address of the instruction that would run next; of a software breakpoint, of the INT3 itself, which has not run.</param>
/// <param name="Breakpoint">For a hardware breakpoint: its index in <see cref="GuestDebug.Breakpoints"/>; else -1.</param>
public readonly record struct DebugStop(DebugCause Cause, ulong Address, int Breakpoint = -1);
