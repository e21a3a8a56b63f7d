namespace Vmm.Cli.Reports;

/// <summary>How it ended.</summary>
/// <param name="Kind">"powered-off", "debug-exit", "triple-fault", "reset", "panicked", "failed", "timed-out" or "interrupted".</param>
/// <param name="Code">For a debug exit the value the guest wrote.</param>
/// <param name="ProcessExitCode">What the process returns.</param>
/// <param name="Error">For "failed" the cause, with its stack.</param>
internal sealed record ExitReport(string Kind, uint? Code, int ProcessExitCode, string? Error);
