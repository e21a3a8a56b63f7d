namespace Vmm.Core;

/// <summary>The ways a machine ends.</summary>
public enum MachineExitKind
{
    /// <summary>The guest switched the power off.</summary>
    PoweredOff,

    /// <summary>The guest asked for a reset.</summary>
    Reset,

    /// <summary>A processor met a fault while delivering a double fault.</summary>
    TripleFault,

    /// <summary>The guest wrote to the debug-exit device; the value is in <see cref="MachineExit.Code"/>.</summary>
    DebugExit,

    /// <summary>The guest's kernel reported a panic (pvpanic).</summary>
    Panicked,

    /// <summary>The host stopped it (kill or dispose).</summary>
    Killed,

    /// <summary>The backend or a device failed; <see cref="MachineExit.Error"/> says why.</summary>
    Failed,
}
