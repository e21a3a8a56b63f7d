namespace Vmm.Cli.Reports;

/// <summary>What <c>--report</c> writes. Times are of the host.</summary>
internal sealed record RunReport
{
    /// <summary>The version of this format.</summary>
    public int Format { get; init; } = 1;

    public required string VmmVersion { get; init; }

    public required MachineReport Machine { get; init; }

    public required ExitReport Exit { get; init; }

    /// <summary>Milliseconds from the beginning of the machine's building, in order of time.</summary>
    public required IReadOnlyList<TimelineMark> Timeline { get; init; }

    /// <summary>From the first instruction to the end, in milliseconds; null when there was none.</summary>
    public double? RunMilliseconds { get; init; }

    /// <summary>CPU time of the whole process, start-up and just-in-time compiler included, in milliseconds.</summary>
    public required double HostCpuMilliseconds { get; init; }

    /// <summary>Null where they are not counted, as in translated code.</summary>
    public ulong? InstructionsRetired { get; init; }

    /// <summary>Million instructions retired a second of <see cref="RunMilliseconds"/>, in which the guest may have slept; null where they are not counted.</summary>
    public double? Mips { get; init; }

    /// <summary>Exits of all vCPUs by kind.</summary>
    public required IReadOnlyDictionary<string, long> Exits { get; init; }

    public required long UnclaimedPortAccesses { get; init; }

    public required long UnclaimedMemoryAccesses { get; init; }

    /// <summary>Bytes the guest wrote to its console.</summary>
    public required long ConsoleBytes { get; init; }
}
