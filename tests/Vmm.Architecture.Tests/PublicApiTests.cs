using PublicApiGenerator;

namespace Vmm.Architecture.Tests;

/// <summary>
/// The public API of each package is written down in api/. A change shows in the diff; VMM_UPDATE_API=1 writes the files anew.
/// </summary>
public class PublicApiTests
{
    public static TheoryData<string> Assemblies => [.. Packages.Names];

    [Theory]
    [MemberData(nameof(Assemblies))]
    public void Api_IsWhatIsWrittenDown(string name)
    {
        var update = Environment.GetEnvironmentVariable("VMM_UPDATE_API") == "1";
        var api = Packages.Load(name).GeneratePublicApi(new ApiGeneratorOptions { IncludeAssemblyAttributes = false }).ReplaceLineEndings("\n").TrimEnd() + "\n";
        var path = Path.Combine(Repository.Root, "tests", "Vmm.Architecture.Tests", "api", name + ".txt");
        if (update)
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllText(path, api);
            return;
        }

        Assert.True(File.Exists(path), $"There is no {path}; set VMM_UPDATE_API=1 once to write it.");
        Assert.Equal(File.ReadAllText(path).ReplaceLineEndings("\n"), api);
    }
}
