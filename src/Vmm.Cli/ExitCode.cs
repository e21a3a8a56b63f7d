using Vmm.Core;

namespace Vmm.Cli;

/// <summary>
/// The process's exit codes. A debug exit gives an odd one, <c>(value &lt;&lt; 1) | 1</c>, as QEMU's isa-debug-exit does; all others are even, so
/// that the two cannot be taken for each other. Operating systems keep the low 8 bits.
/// </summary>
internal static class ExitCode
{
    public const int PoweredOff = 0;

    /// <summary>The command line is wrong (sysexits.h: EX_USAGE).</summary>
    public const int BadArguments = 64;

    /// <summary>A kernel, firmware, initrd or module cannot be found, read or loaded (EX_NOINPUT).</summary>
    public const int BadImage = 66;

    public const int NoBackend = 68;

    /// <summary>The host or Vmm itself failed (EX_SOFTWARE).</summary>
    public const int HostFailure = 70;

    public const int TripleFault = 72;

    public const int GuestReset = 74;

    public const int GuestPanic = 76;

    /// <summary>As of timeout(1).</summary>
    public const int TimedOut = 124;

    /// <summary>Ctrl-A x, or a signal such as SIGINT.</summary>
    public const int Interrupted = 130;

    public static int DebugExit(uint value) => (int)((value << 1) | 1);

    public static int Of(MachineExit exit) => exit.Kind switch
    {
        MachineExitKind.PoweredOff => PoweredOff,
        MachineExitKind.DebugExit => DebugExit(exit.Code),
        MachineExitKind.TripleFault => TripleFault,
        MachineExitKind.Reset => GuestReset,
        MachineExitKind.Panicked => GuestPanic,
        MachineExitKind.Killed => Interrupted,
        _ => HostFailure,
    };
}
