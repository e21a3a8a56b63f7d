using System.Text.RegularExpressions;

namespace Vmm.Architecture.Tests;

/// <summary>Where types are, and what they are called.</summary>
public partial class LayoutTests
{
    private const int HardLimit = 800, SoftLimit = 400;

    [Fact]
    public void Namespace_IsProjectAndFolder()
    {
        List<string> wrong = [];
        foreach (var file in Repository.Sources)
        {
            var match = Namespace().Match(file.Code);

            // A program of top-level statements has no namespace; nor has a file of assembly attributes or global usings.
            if (!match.Success && (file.Name == "Program.cs" || !TypeDeclaration().IsMatch(file.Code))) continue;
            var expected = string.Join('.', file.Path.Split('/')[1..^1]);
            if (match.Groups[1].Value != expected || match.Groups[2].Value != ";") wrong.Add($"{file}: '{match.Groups[1].Value}', should be the file-scoped '{expected}'");
        }

        Rules.None(wrong);
    }

    [Fact]
    public void File_HasOnePublicTypeAndItsName()
    {
        List<string> wrong = [];
        foreach (var file in Repository.Sources)
        {
            var types = PublicType().Matches(file.Code).Select(m => m.Groups[1].Value).Distinct().ToList();
            if (types.Count > 1) wrong.Add($"{file}: {string.Join(", ", types)}; give each a file");
            else if (types.Count == 1 && !IsNamedFor(file.Name, types[0])) wrong.Add($"{file}: holds {types[0]}; call it {types[0]}.cs or {types[0]}.Aspect.cs");
        }

        Rules.None(wrong);
    }

    [Fact]
    public void Names_SayWhatTheThingIs()
    {
        List<string> wrong = [];
        foreach (var file in Repository.Sources)
        {
            wrong.AddRange(file.Path.Split('/')[2..^1].Where(f => Empty().IsMatch(f)).Select(f => $"{file}: folder {f}"));

            // Nested types may use the field's own words: x86 addresses do have a base.
            wrong.AddRange(TopLevelType().Matches(file.Code).Select(m => m.Groups[1].Value).Where(t => Empty().IsMatch(t)).Select(t => $"{file}: type {t}"));
        }

        Rules.None(wrong);
    }

    [Fact]
    public void Files_AreShort()
    {
        var ratchet = Ratchet.Read("file-sizes.txt");
        List<string> wrong = [];
        foreach (var file in Repository.Sources)
        {
            var limit = ratchet.GetValueOrDefault(file.Path, HardLimit);
            if (file.Lines > limit) wrong.Add($"{file}: {file.Lines} lines, the limit is {limit}; split it by aspect");
            if (ratchet.Remove(file.Path) && file.Lines <= HardLimit) wrong.Add($"{file}: {file.Lines} lines; take it off file-sizes.txt, it fits by now");
        }

        wrong.AddRange(ratchet.Keys.Select(p => $"{p}: there is no such file; take it off file-sizes.txt"));
        Rules.None(wrong);
    }

    [Fact]
    public void Files_MostAreUnder400Lines()
    {
        var long_ = Repository.Sources.Where(f => f.Lines > SoftLimit).ToList();
        Assert.True(long_.Count <= Repository.Sources.Count / 10, $"More than a tenth of the files has over {SoftLimit} lines:\n{string.Join('\n', long_.Select(f => $"{f.Lines} {f}"))}");
    }

    private static bool IsNamedFor(string file, string type) => file == type + ".cs" || file.StartsWith(type + ".", StringComparison.Ordinal);

    [GeneratedRegex(@"^namespace\s+([\w.]+)\s*(;|\{|$)", RegexOptions.Multiline)]
    private static partial Regex Namespace();

    [GeneratedRegex(@"^public\s+(?:(?:sealed|static|abstract|readonly|partial|unsafe|ref|delegate|unmanaged)\s+)*(?:record\s+struct|record\s+class|record|class|struct|enum|interface|(?<=delegate\s+)[\w<>?.\[\]]+)\s+(\w+)", RegexOptions.Multiline)]
    private static partial Regex PublicType();

    [GeneratedRegex(@"\b(?:record\s+struct|record\s+class|record|class|struct|enum|interface)\s+([A-Z]\w*)")]
    private static partial Regex TypeDeclaration();

    [GeneratedRegex(@"^[a-z].*?\b(?:record\s+struct|record\s+class|record|class|struct|enum|interface)\s+([A-Z]\w*)", RegexOptions.Multiline)]
    private static partial Regex TopLevelType();

    [GeneratedRegex(@"(^|[a-z0-9])(Common|Utils?|Utilit(y|ies)|Misc|Manager|Service|Info|Base|Helpers?)$")]
    private static partial Regex Empty();
}
