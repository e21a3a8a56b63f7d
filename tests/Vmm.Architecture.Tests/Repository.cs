using System.Text.RegularExpressions;

namespace Vmm.Architecture.Tests;

/// <summary>The source tree that the rules are about.</summary>
internal static partial class Repository
{
    public static string Root { get; } = FindRoot();

    /// <summary>All C# files below src, with paths relative to the root and forward slashes.</summary>
    public static IReadOnlyList<SourceFile> Sources { get; } = [.. Find("src")];

    /// <summary>The project files below src.</summary>
    public static IReadOnlyList<string> Projects { get; } = [.. Directory.EnumerateFiles(Path.Combine(Root, "src"), "*.csproj", SearchOption.AllDirectories).Where(p => !IsOutput(p)).Order()];

    private static IEnumerable<SourceFile> Find(string folder) =>
        Directory.EnumerateFiles(Path.Combine(Root, folder), "*.cs", SearchOption.AllDirectories).Where(p => !IsOutput(p)).Order()
            .Select(p => new SourceFile(Path.GetRelativePath(Root, p).Replace('\\', '/'), File.ReadAllText(p)));

    private static bool IsOutput(string path) => Output().IsMatch(path);

    private static string FindRoot()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Vmm.sln"))) return folder.FullName;
        }

        throw new InvalidOperationException("Vmm.sln is in no folder above the tests: run them from the repository.");
    }

    [GeneratedRegex(@"[\\/](obj|bin)[\\/]")]
    private static partial Regex Output();
}
