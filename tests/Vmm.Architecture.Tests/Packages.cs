using System.Reflection;

namespace Vmm.Architecture.Tests;

/// <summary>The assemblies of the packages.</summary>
internal static class Packages
{
    public static IReadOnlyList<string> Names { get; } = ["Vmm.Core", "Vmm.Devices", "Vmm.Backends.Software", "Vmm.Backends.Kvm", "Vmm.Backends.Whp", "Vmm.Guests", "Vmm"];

    public static Assembly Load(string name) => Assembly.Load(new AssemblyName(name));
}
