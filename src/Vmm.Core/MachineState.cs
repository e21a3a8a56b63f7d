namespace Vmm.Core;

/// <summary>Where a machine is in its life.</summary>
public enum MachineState
{
    /// <summary>Built, not started.</summary>
    Created,

    /// <summary>Its vCPUs run.</summary>
    Running,

    /// <summary>Its vCPUs and its clock stand still.</summary>
    Paused,

    /// <summary>It ended; <see cref="VirtualMachine.Completion"/> tells how.</summary>
    Ended,

    /// <summary>Disposed.</summary>
    Disposed,
}
