namespace Vmm.Core.Backends;

/// <summary>What a debug register watches (the values are DR7's).</summary>
public enum HardwareBreakpointKind
{
    /// <summary>An instruction about to run.</summary>
    Execute = 0,

    /// <summary>Data that was written.</summary>
    Write = 1,

    /// <summary>Data that was read or written.</summary>
    ReadWrite = 3,
}
