namespace Vmm;

/// <summary>What came of a command in a guest.</summary>
/// <param name="Output">What it wrote to its terminal, standard output and error alike, with line feeds.</param>
/// <param name="ExitCode">Its exit status.</param>
public sealed record LinuxCommandResult(string Output, int ExitCode);
