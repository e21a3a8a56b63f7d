namespace Vmm.Cli.Reports;

/// <summary>A moment of the run.</summary>
internal sealed record TimelineMark(string Name, double Milliseconds);
