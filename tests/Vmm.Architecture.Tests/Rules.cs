namespace Vmm.Architecture.Tests;

/// <summary>How a broken rule is told: every place, not only the first.</summary>
internal static class Rules
{
    public static void None(IReadOnlyCollection<string> violations)
    {
        if (violations.Count > 0) Assert.Fail($"{violations.Count} violations:\n{string.Join('\n', violations)}");
    }
}
