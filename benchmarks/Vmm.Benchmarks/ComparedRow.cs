using System.Globalization;

namespace Vmm.Benchmarks;

/// <summary>One line of a comparison with a C program: nanoseconds of both sides, and the most that the ratio of their medians may be (zero for any).</summary>
internal sealed record ComparedRow(string Title, double Bound)
{
    public List<double> Reference { get; } = [];

    public List<double> Ours { get; } = [];

    public double Ratio => Median(Ours) / Median(Reference);

    public bool IsWithin => Bound == 0 || Ratio <= Bound;

    public void Add(double reference, double ours)
    {
        Reference.Add(reference);
        Ours.Add(ours);
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{Title,-52} C {Median(Reference) / 1000,10:F2}   Vmm {Median(Ours) / 1000,10:F2}   ratio {Ratio:F3}{(Bound == 0 ? "" : IsWithin ? $" (at most {Bound})" : $" ABOVE {Bound}")}");

    private static double Median(List<double> samples) => samples.Order().ElementAt(samples.Count / 2);
}
