using Vmm.Core;

namespace Vmm.Cli.Running;

/// <summary>How a run ended: the machine's end, and who ended it where that was not the guest.</summary>
/// <param name="Machine">The machine's end.</param>
/// <param name="TimedOut">Killed by <c>--timeout</c>.</param>
internal sealed record RunEnd(MachineExit Machine, bool TimedOut)
{
    public int Code => TimedOut ? ExitCode.TimedOut : ExitCode.Of(Machine);

    /// <summary>The name in the report.</summary>
    public string Kind => Machine.Kind switch
    {
        _ when TimedOut => "timed-out",
        MachineExitKind.PoweredOff => "powered-off",
        MachineExitKind.Reset => "reset",
        MachineExitKind.TripleFault => "triple-fault",
        MachineExitKind.DebugExit => "debug-exit",
        MachineExitKind.Panicked => "panicked",
        MachineExitKind.Killed => "interrupted",
        _ => "failed",
    };

    /// <summary>The sentence for the user; null where the exit code says it.</summary>
    public string? Sentence(TimeSpan? timeout) => Machine.Kind switch
    {
        _ when TimedOut => $"the time of {timeout!.Value.TotalSeconds:0.###} s is over; the guest was killed.",
        MachineExitKind.TripleFault => "the guest's processor met a triple fault.",
        MachineExitKind.Reset => "the guest asked for a reset.",
        MachineExitKind.Panicked => "the guest's kernel panicked.",
        MachineExitKind.Killed => "left; the guest was killed.",
        MachineExitKind.Failed => $"the machine failed: {Machine.Error?.Message ?? "no reason is known"}",
        _ => null,
    };
}
