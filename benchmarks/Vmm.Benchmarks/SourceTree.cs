namespace Vmm.Benchmarks;

/// <summary>The checkout that the benchmarks run from.</summary>
internal static class SourceTree
{
    /// <summary>A folder of benchmarks/, which is above the program.</summary>
    public static string Folder(string name)
    {
        for (var directory = new DirectoryInfo(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
        {
            var candidate = Path.Combine(directory.FullName, "benchmarks", name);
            if (Directory.Exists(candidate)) return candidate;
        }

        throw new DirectoryNotFoundException($"benchmarks/{name} is not above {AppContext.BaseDirectory}");
    }
}
