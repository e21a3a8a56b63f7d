namespace Vmm.Cli;

/// <summary>Ends the command with a message of one line a problem, and an exit code.</summary>
internal sealed class CliException(int exitCode, params IReadOnlyList<string> problems) : Exception(string.Join('\n', problems))
{
    public int ExitCode { get; } = exitCode;

    public IReadOnlyList<string> Problems { get; } = problems;
}
