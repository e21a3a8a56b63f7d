using System.Text.RegularExpressions;

namespace Vmm.Architecture.Tests;

/// <summary>What code may not do, or only in certain places.</summary>
public partial class CodeTests
{
    /// <summary>Files outside Time/ and Execution/ that read the wall clock, sleep or start threads, each with its reason.</summary>
    private static readonly Dictionary<string, string> Workers = new()
    {
        ["src/Vmm.Guests/Packages/ImageCache.cs"] = "ages of files on the host",
    };

    [Fact]
    public void Unsafe_IsOnlyInItsPlaces()
    {
        List<string> wrong = [];
        foreach (var file in Repository.Sources.Where(f => UnsafeKeyword().IsMatch(f.Code)))
        {
            if (!file.Name.EndsWith(".Unsafe.cs", StringComparison.Ordinal) && !InFolder(file, "Interop") && !InFolder(file, "Translate")) wrong.Add($"{file}: unsafe; move it to a file *.Unsafe.cs, to Interop/ or to Translate/");
            if (Dereference().IsMatch(file.Code) && !file.Text.Contains("// SAFETY:", StringComparison.Ordinal)) wrong.Add($"{file}: uses pointers without a line '// SAFETY: ...' that says why that is sound");
        }

        Rules.None(wrong);
    }

    [Fact]
    public void WallClockSleepAndThreads_AreOnlyInTimeAndExecution()
    {
        List<string> wrong = [];
        foreach (var file in Repository.Sources.Where(f => !InFolder(f, "Time") && !InFolder(f, "Execution") && !Workers.ContainsKey(f.Path)))
        {
            wrong.AddRange(BannedCall().Matches(file.Code).Select(m => $"{file}: {m.Value}"));
        }

        wrong.AddRange(Workers.Keys.Where(w => Repository.Sources.FirstOrDefault(f => f.Path == w) is not { } file || !BannedCall().IsMatch(file.Code)).Select(w => $"{w}: needs no exception; take it off the list"));
        Rules.None(wrong);
    }

    [Fact]
    public void ReflectionEmit_IsNotUsed() => Rules.None([.. Repository.Sources.Where(f => f.Code.Contains("Reflection.Emit", StringComparison.Ordinal) || f.Code.Contains("DynamicMethod", StringComparison.Ordinal)).Select(f => f.Path)]);

    [Fact]
    public void NativeNames_AreOnlyInInterop() => Rules.None([.. Repository.Sources.Where(f => (f.Code.Contains("LibraryImport", StringComparison.Ordinal) || f.Code.Contains("DllImport", StringComparison.Ordinal)) && !InFolder(f, "Interop")).Select(f => $"{f}: imports native functions; move that to Interop/")]);

    [Fact]
    public void UnfinishedCode_IsNotThere() => Rules.None([.. Repository.Sources.Where(f => Unfinished().IsMatch(f.Text)).Select(f => f.Path)]);

    private static bool InFolder(SourceFile file, string folder) => file.Path.Contains($"/{folder}/", StringComparison.Ordinal);

    [GeneratedRegex(@"\bunsafe\b")]
    private static partial Regex UnsafeKeyword();

    [GeneratedRegex(@"->|\(\w+\*+\)|[=(,]\s*\*\w")]
    private static partial Regex Dereference();

    [GeneratedRegex(@"\bDateTime(Offset)?\.(Utc)?(Now|Today)\b|\bThread\.Sleep\b|\bEnvironment\.TickCount|\bnew\s+Thread\s*\(")]
    private static partial Regex BannedCall();

    [GeneratedRegex(@"\bTODO\b|\bFIXME\b|\bHACK\b|NotImplementedException")]
    private static partial Regex Unfinished();
}
