namespace Vmm.Backends.Software.Tests.FloatingPoint;

/// <summary>Counts disagreements with the host and shows the first few.</summary>
internal sealed class Differences(string what)
{
    private readonly List<string> _shown = [];
    private int _count;

    public void Check(bool ok, Func<string> describe)
    {
        if (!ok && _count++ < 12)
        {
            _shown.Add(describe());
        }
    }

    public void Assert() => Xunit.Assert.True(_count == 0, $"{what}: {_count} differences\n" + string.Join('\n', _shown));
}
