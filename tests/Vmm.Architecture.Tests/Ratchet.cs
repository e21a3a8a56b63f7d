namespace Vmm.Architecture.Tests;

/// <summary>A list of known exceptions with their sizes, one a line: "path number". It may only shrink; a test fails when an entry is no longer needed.</summary>
internal static class Ratchet
{
    public static Dictionary<string, int> Read(string name) =>
        File.ReadAllLines(Path.Combine(Repository.Root, "tests", "Vmm.Architecture.Tests", name))
            .Where(l => l.Length > 0 && !l.StartsWith('#'))
            .Select(l => l.Split(' ', 2))
            .ToDictionary(p => p[0], p => int.Parse(p[1]));
}
