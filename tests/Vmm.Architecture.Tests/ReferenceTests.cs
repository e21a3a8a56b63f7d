using System.Xml.Linq;

namespace Vmm.Architecture.Tests;

/// <summary>Three layers, one direction: Devices to Core from Backends; a backend never meets a device or another backend.</summary>
public class ReferenceTests
{
    private static readonly Dictionary<string, (string[] Projects, string[] Packages)> Allowed = new()
    {
        ["Vmm.Core"] = ([], ["Microsoft.Extensions.Logging.Abstractions"]),
        ["Vmm.Devices"] = (["Vmm.Core"], ["ZstdSharp.Port"]),
        ["Vmm.Backends.Software"] = (["Vmm.Core"], ["Iced"]),
        ["Vmm.Backends.Kvm"] = (["Vmm.Core"], []),
        ["Vmm.Backends.Whp"] = (["Vmm.Core"], []),
        ["Vmm.Guests"] = (["Vmm.Core"], []),
        ["Vmm"] = (["Vmm.Core", "Vmm.Devices", "Vmm.Backends.Software", "Vmm.Backends.Kvm", "Vmm.Backends.Whp", "Vmm.Guests"], []),
        ["Vmm.Testing"] = (["Vmm"], ["xunit.v3.extensibility.core"]),
        ["Vmm.Cli"] = (["Vmm"], ["System.CommandLine", "Spectre.Console"]),
    };

    public static TheoryData<string> Projects => [.. Repository.Projects.Select(p => Path.GetFileNameWithoutExtension(p))];

    [Theory]
    [MemberData(nameof(Projects))]
    public void Project_References_OnlyWhatItMay(string name)
    {
        Assert.True(Allowed.TryGetValue(name, out var allowed), $"The project {name} is new: say in this test what it may reference.");
        var project = XDocument.Load(Repository.Projects.Single(p => Path.GetFileNameWithoutExtension(p) == name));
        var projects = project.Descendants("ProjectReference").Where(r => r.Attribute("OutputItemType") is null).Select(r => Path.GetFileNameWithoutExtension(r.Attribute("Include")!.Value.Replace('\\', '/')));
        Assert.Empty(projects.Except(allowed.Projects));
        Assert.Empty(project.Descendants("PackageReference").Select(r => r.Attribute("Include")!.Value).Except(allowed.Packages));
    }

    [Fact]
    public void Packages_Versions_AreCentral()
    {
        foreach (var project in Repository.Projects)
        {
            Assert.DoesNotContain(XDocument.Load(project).Descendants("PackageReference"), r => r.Attribute("Version") is not null || r.Attribute("VersionOverride") is not null);
        }
    }
}
