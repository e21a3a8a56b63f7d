namespace Vmm.Backends.Conformance.Guests;

/// <summary>How a program came to its end.</summary>
public enum EndKind
{
    /// <summary>Its code wrote the exit port.</summary>
    Exit,

    /// <summary>An interrupt or exception that has no handler of the test's own; <see cref="GuestEnd.Value"/> is the vector.</summary>
    Trap,

    /// <summary>A triple fault.</summary>
    Shutdown,

    /// <summary>A stop for the debugger.</summary>
    Debug,

    /// <summary>The backend gave up.</summary>
    Failed,
}

/// <summary>A program's end.</summary>
/// <param name="Kind">How.</param>
/// <param name="Value">What the guest wrote to the exit port, or the vector.</param>
/// <param name="Reason">Of a failure.</param>
public readonly record struct GuestEnd(EndKind Kind, uint Value = 0, string? Reason = null)
{
    /// <summary>The end of a program by an exception or interrupt.</summary>
    public static GuestEnd Trap(int vector) => new(EndKind.Trap, (uint)vector);
}
