// Debian Policy 7.1 (relationship fields) and 5.3 (binary package control files).
namespace Vmm.Guests.Packages;

/// <summary>A package in the cache: its files under "files", its control paragraph as "control".</summary>
/// <param name="Name">The package's name.</param>
/// <param name="Version">Its version.</param>
/// <param name="Root">The directory that stands for the guest's root.</param>
/// <param name="Depends">Packages it depends on, of alternatives the first.</param>
internal sealed record UnpackedPackage(string Name, string Version, string Root, IReadOnlyList<string> Depends)
{
    public const string ControlFile = "control", FilesDirectory = "files";

    public static UnpackedPackage Open(ImageRecord record, string root) =>
        new(record.Package, record.Version, Path.Combine(root, FilesDirectory), DependenciesOf(File.ReadAllText(Path.Combine(root, ControlFile))));

    /// <summary>The value of a field of one control paragraph, or null. Folded values are not needed here.</summary>
    public static string? Field(string control, string name) =>
        control.Split('\n').FirstOrDefault(l => l.StartsWith(name + ":", StringComparison.Ordinal))?[(name.Length + 1)..].Trim();

    public static IReadOnlyList<string> DependenciesOf(string control)
    {
        var names = new List<string>();
        foreach (string field in (string[])["Pre-Depends", "Depends"])
        {
            foreach (string dependency in (Field(control, field) ?? "").Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
            {
                string name = dependency.Split('|')[0].Trim().Split(' ', '(', ':', '[')[0];
                if (AptPackages.IsPackageName(name) && !names.Contains(name))
                    names.Add(name);
            }
        }
        return names;
    }
}
