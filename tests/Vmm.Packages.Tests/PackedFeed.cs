using System.Text.Json;

namespace Vmm.Packages.Tests;

/// <summary>The packages, made once by `dotnet pack` into a feed outside the repository, under a version nobody has.</summary>
public sealed class PackedFeed : IAsyncLifetime
{
    /// <summary>A folder of its own outside the repository, whose nuget.config adds the feed to the user's sources.</summary>
    public string Directory { get; } = System.IO.Directory.CreateTempSubdirectory("vmm-packages-").FullName;

    public string Version { get; } = $"0.1.0-test.g{Guid.NewGuid():N}"[..24];

    public string Feed => Path.Combine(Directory, "feed");

    public async ValueTask InitializeAsync()
    {
        var projects = System.IO.Directory.EnumerateFiles(Path.Combine(Repository.Root, "src"), "*.csproj", SearchOption.AllDirectories);
        var solution = Write("packages.slnx", $"<Solution>{string.Concat(projects.Select(p => $"<Project Path=\"{p}\" />"))}</Solution>");
        Write("nuget.config", """<configuration><packageSources><add key="vmm-packages-test" value="feed" /></packageSources></configuration>""");

        // Everything is built apart from the tree, whose own build may be running; its analysers have run there.
        var packed = await Command.DotnetAsync(Repository.Root, "pack", solution, "-c", "Release", "-o", Feed, "--artifacts-path", Path.Combine(Directory, "artifacts"),
            $"-p:Version={Version}", "-p:RunAnalyzers=false", "-p:UseSharedCompilation=false", "-nodeReuse:false", "-v", "quiet");
        packed.Succeeded("dotnet pack");
    }

    public ValueTask DisposeAsync()
    {
        // Packages of this version in the user's cache are of no use to anybody.
        foreach (var cache in System.IO.Directory.EnumerateDirectories(Directory).Select(d => Path.Combine(d, "obj", "project.assets.json")).Where(File.Exists).SelectMany(Caches).ToHashSet())
        {
            foreach (var package in System.IO.Directory.EnumerateDirectories(cache, "vmm*"))
            {
                if (System.IO.Directory.Exists(Path.Combine(package, Version))) System.IO.Directory.Delete(Path.Combine(package, Version), recursive: true);
                if (!System.IO.Directory.EnumerateFileSystemEntries(package).Any()) System.IO.Directory.Delete(package);
            }
        }

        System.IO.Directory.Delete(Directory, recursive: true);
        return ValueTask.CompletedTask;
    }

    private static IEnumerable<string> Caches(string assets)
    {
        using var json = JsonDocument.Parse(File.ReadAllBytes(assets));
        return json.RootElement.TryGetProperty("packageFolders", out var folders) ? [.. folders.EnumerateObject().Select(f => f.Name).Where(System.IO.Directory.Exists)] : [];
    }

    public string Write(string name, string text)
    {
        var path = Path.Combine(Directory, name);
        System.IO.Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
        return path;
    }
}
