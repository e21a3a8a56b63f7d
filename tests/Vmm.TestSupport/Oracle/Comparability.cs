namespace Vmm.TestSupport.Oracle;

/// <summary>How far a native result says what the CPU model must do.</summary>
public enum Comparability
{
    /// <summary>Every result bit that is not documented as undefined must be equal.</summary>
    Exact,

    /// <summary>The result is an approximation which the architecture bounds but does not fix (RCPPS, FSIN).</summary>
    Approximate,

    /// <summary>The instruction cannot be run natively here, or its result says nothing about the CPU model.</summary>
    None,
}
