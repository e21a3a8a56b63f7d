namespace Vmm.Core.Telemetry;

/// <summary>A moment of a machine's start.</summary>
/// <param name="Name">What happened; see the names in <see cref="BootTimeline"/>.</param>
/// <param name="Nanoseconds">Host time since the machine began to be built.</param>
public readonly record struct BootMark(string Name, long Nanoseconds);
