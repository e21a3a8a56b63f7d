namespace Vmm.Core.Execution;

/// <summary>How much host CPU time the vCPUs of a machine get; kept by the run loop.</summary>
/// <param name="Cap">The most, as a fraction of one host core over any 100 ms, all vCPUs together: 0.5 is half a core. Infinity for no cap.</param>
/// <param name="Weight">The part relative to other machines of the same pool when there is not enough for all; 1 to 10 000.</param>
/// <param name="Pool">The pool whose machines compete; null for none.</param>
public sealed record CpuShare(double Cap = double.PositiveInfinity, int Weight = 100, CpuPool? Pool = null)
{
    /// <summary>No cap, no pool.</summary>
    public static CpuShare Unlimited { get; } = new();

    internal IEnumerable<string> Validate()
    {
        if (!(Cap >= 0.01)) yield return $"A CPU cap of {Cap}: choose at least 0.01 of a core.";
        if (Weight is < 1 or > 10_000) yield return $"A CPU weight of {Weight}: choose 1 to 10000.";
    }
}
