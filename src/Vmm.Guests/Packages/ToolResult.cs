namespace Vmm.Guests.Packages;

/// <summary>How a child process ended.</summary>
/// <param name="ExitCode">Its exit code, or null if it could not be started or did not end in time.</param>
/// <param name="Output">Its standard output, the first part if there was very much.</param>
/// <param name="Problem">Null on success, else a sentence with the end of its standard error.</param>
internal readonly record struct ToolResult(int? ExitCode, string Output, string? Problem)
{
    public bool Succeeded => Problem is null;

    /// <summary>The program is not on this host.</summary>
    public bool Missing { get; init; }
}
