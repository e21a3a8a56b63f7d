namespace Vmm.Packages.Tests;

/// <summary>The source tree that the packages are made of.</summary>
internal static class Repository
{
    public static string Root { get; } = FindRoot();

    public static string Read(string path) => File.ReadAllText(Path.Combine(Root, path)).ReplaceLineEndings("\n");

    private static string FindRoot()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Vmm.sln"))) return folder.FullName;
        }

        throw new InvalidOperationException("Vmm.sln is in no folder above the tests: run them from the repository.");
    }
}
