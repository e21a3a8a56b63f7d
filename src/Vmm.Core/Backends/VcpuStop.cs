namespace Vmm.Core.Backends;

/// <summary>A return of <see cref="IVcpu.Run"/>: a value, made without allocating except when <see cref="VcpuStopKind.Failed"/>.</summary>
/// <param name="Kind">Why it returned.</param>
/// <param name="Reason">For <see cref="VcpuStopKind.Failed"/>: what went wrong, with the backend's code.</param>
/// <param name="Debug">For <see cref="VcpuStopKind.Debug"/>: which of the host's stops it was.</param>
public readonly record struct VcpuStop(VcpuStopKind Kind, string? Reason = null, DebugStop Debug = default);
