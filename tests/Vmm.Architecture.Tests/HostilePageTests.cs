using System.Text.RegularExpressions;

namespace Vmm.Architecture.Tests;

/// <summary>The tests that docs/hostile.md names are there.</summary>
public partial class HostilePageTests
{
    [Fact]
    public void Tests_NamedForACase_Exist()
    {
        var tests = Directory.EnumerateFiles(Path.Combine(Repository.Root, "tests"), "*Tests.cs", SearchOption.AllDirectories).Select(File.ReadAllText).ToList();
        var names = TestName().Matches(File.ReadAllText(Path.Combine(Repository.Root, "docs", "hostile.md"))).Select(m => m.Groups[1].Value).ToList();
        Assert.True(names.Count > 80, $"{names.Count} names");
        Assert.DoesNotContain(names, name => !tests.Exists(text => text.Contains($" {name}(", StringComparison.Ordinal)));
    }

    [GeneratedRegex(@"`(?:\w+\.)?([A-Z]\w*_\w+)`")]
    private static partial Regex TestName();
}
