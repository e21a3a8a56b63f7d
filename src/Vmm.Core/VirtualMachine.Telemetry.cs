using Microsoft.Extensions.Logging;
using Vmm.Core.Telemetry;

namespace Vmm.Core;

public sealed partial class VirtualMachine
{
    private readonly Lock _statisticsLock = new();
    private readonly MachineTelemetry _telemetry;
    private MachineStatistics? _lastStatistics;

    /// <summary>When the machine came how far in its start.</summary>
    public BootTimeline Timeline { get; }

    /// <summary>Instructions, exits and unclaimed accesses so far; of a disposed machine, as they were at its end.</summary>
    public MachineStatistics Statistics
    {
        get
        {
            lock (_statisticsLock) return _lastStatistics ?? MachineStatistics.Of(Bus, Partition?.Vcpus ?? []);
        }
    }

    /// <summary>Keeps the last counts: the vCPUs, which hold them, are about to be freed.</summary>
    private void KeepStatistics()
    {
        lock (_statisticsLock) _lastStatistics ??= MachineStatistics.Of(Bus, Partition?.Vcpus ?? []);
    }

    private void ReportEnd(MachineExit exit)
    {
        Timeline.Mark(BootTimeline.Ended);
        _telemetry.EndBoot(exit);
        if (exit.Kind == MachineExitKind.Failed) LogFailed(exit.Error, Name);
        else LogEnded(Name, exit.Kind, exit.Code);
    }

    [LoggerMessage(EventId = 1001, Level = LogLevel.Debug, Message = "Machine {Machine} is built: {Vcpus} vCPUs on {Backend}, {Memory} bytes of RAM, {Devices} devices.")]
    private partial void LogBuilt(string machine, int vcpus, string backend, ulong memory, int devices);

    [LoggerMessage(EventId = 1002, Level = LogLevel.Information, Message = "Machine {Machine} runs.")]
    private partial void LogStarted(string machine);

    [LoggerMessage(EventId = 1003, Level = LogLevel.Debug, Message = "Machine {Machine} is paused at {Nanoseconds} ns of guest time.")]
    private partial void LogPaused(string machine, long nanoseconds);

    [LoggerMessage(EventId = 1004, Level = LogLevel.Debug, Message = "Machine {Machine} goes on.")]
    private partial void LogResumed(string machine);

    [LoggerMessage(EventId = 1005, Level = LogLevel.Information, Message = "Machine {Machine} ended: {Kind}, code {Code}.")]
    private partial void LogEnded(string machine, MachineExitKind kind, uint code);

    [LoggerMessage(EventId = 1006, Level = LogLevel.Error, Message = "Machine {Machine} failed.")]
    private partial void LogFailed(Exception? error, string machine);

    [LoggerMessage(EventId = 1007, Level = LogLevel.Warning, Message = "Machine {Machine} did not power off within {Timeout}; it is killed.")]
    private partial void LogStopTimedOut(string machine, TimeSpan timeout);

    [LoggerMessage(EventId = 1010, Level = LogLevel.Error, Message = "Disposing {Part} of machine {Machine} failed.")]
    private partial void LogDisposalFailed(Exception error, string part, string machine);
}
