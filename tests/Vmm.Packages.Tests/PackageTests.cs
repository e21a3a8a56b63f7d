using System.IO.Compression;
using System.Reflection.PortableExecutable;
using System.Runtime.InteropServices;
using System.Xml.Linq;

namespace Vmm.Packages.Tests;

/// <summary>The packages as their users get them: what is in them, and that an app that references nothing but Vmm runs a guest.</summary>
public class PackageTests(PackedFeed feed) : IClassFixture<PackedFeed>
{
    private const string Sample = "samples/hello.cs", FirstLine = "Hello from a virtual machine!", LastLine = "It ended: PoweredOff";

    private static readonly string[] Libraries = ["Vmm", "Vmm.Core", "Vmm.Devices", "Vmm.Backends.Kvm", "Vmm.Backends.Software", "Vmm.Backends.Whp", "Vmm.Guests"];

    [Fact]
    public void Packages_AreTheOnesWithSomethingInThem()
    {
        var made = Directory.EnumerateFiles(feed.Feed, "*.nupkg").Select(p => Path.GetFileName(p)[..^$".{feed.Version}.nupkg".Length]).ToHashSet();
        Assert.Superset(new HashSet<string>([.. Libraries, "Vmm.Cli"]), made);
        foreach (var name in made.Where(n => n != "Vmm.Cli"))
        {
            using var package = Open(name);
            var documentation = XDocument.Load(package.GetEntry($"lib/net10.0/{name}.xml")!.Open());
            Assert.True(documentation.Descendants("member").Any(m => m.Attribute("name")!.Value.StartsWith("T:", StringComparison.Ordinal)), $"{name} has no public type: do not pack it yet.");
        }
    }

    [Theory]
    [InlineData("Vmm")]
    [InlineData("Vmm.Core")]
    [InlineData("Vmm.Devices")]
    [InlineData("Vmm.Backends.Software")]
    [InlineData("Vmm.Guests")]
    [InlineData("Vmm.Cli")]
    public void Package_HasReadmeLicenceAndSymbols(string name)
    {
        using var package = Open(name);
        var metadata = XDocument.Load(package.GetEntry($"{name}.nuspec")!.Open()).Root!.Elements().Single();
        string? Value(string element) => metadata.Elements().SingleOrDefault(e => e.Name.LocalName == element)?.Value;
        Assert.Equal("MIT", Value("license"));
        Assert.Equal("README.md", Value("readme"));
        Assert.NotNull(package.GetEntry("README.md"));
        Assert.NotEmpty(Value("description")!);
        Assert.NotEmpty(Value("tags")!);
        using var symbols = ZipFile.OpenRead(PathOf(name, "snupkg"));
        Assert.Contains(symbols.Entries, e => e.Name == $"{name}.pdb");
    }

    [Fact]
    public void Vmm_DependsOnAllLibrariesOfItsVersion()
    {
        using var package = Open("Vmm");
        var dependencies = XDocument.Load(package.GetEntry("Vmm.nuspec")!.Open()).Descendants().Where(e => e.Name.LocalName == "dependency").ToDictionary(e => e.Attribute("id")!.Value, e => e.Attribute("version")!.Value);
        foreach (var library in Libraries.Where(l => l != "Vmm")) Assert.Equal(feed.Version, dependencies[library]);
        Assert.All(dependencies.Keys.Where(d => d.StartsWith("Vmm", StringComparison.Ordinal)), d => Assert.True(File.Exists(PathOf(d, "nupkg")), $"Vmm depends on {d}, which is not packed."));
    }

    [Fact]
    public async Task App_ThatReferencesVmmAlone_RunsAGuest()
    {
        var app = MakeApp("app", "using Vmm.Backends.Software;\n" + Code(Repository.Read(Sample)) + "Console.WriteLine(typeof(SoftwareHypervisor).Assembly.Location);\n");
        (await Command.DotnetAsync(app, "build", "-c", "Release", "-o", "out", "-warnaserror", "-p:UseSharedCompilation=false", "-nodeReuse:false", "-v", "quiet")).Succeeded("dotnet build");
        var ran = (await Command.DotnetAsync(app, Path.Combine("out", "app.dll"))).Succeeded("the app");
        var loaded = ran.Split('\n')[2];
        AssertRan(ran, loaded);

        // Hosts that the packages hold code for run that, and the others the plain assembly.
        using var image = new PEReader(File.OpenRead(loaded));
        Assert.Equal(RuntimeInformation.RuntimeIdentifier is "linux-x64" or "win-x64", image.PEHeaders.CorHeader!.ManagedNativeHeaderDirectory.Size > 0);
    }

    [Theory]
    [InlineData("Vmm.Core")]
    [InlineData("Vmm.Backends.Software")]
    public void Package_HasThePlainAssemblyToo(string name)
    {
        using var package = Open(name);
        using var bytes = new MemoryStream();
        using (var entry = package.GetEntry($"lib/net10.0/{name}.dll")!.Open()) entry.CopyTo(bytes);
        bytes.Position = 0;
        using var image = new PEReader(bytes);
        Assert.Equal(0, image.PEHeaders.CorHeader!.ManagedNativeHeaderDirectory.Size);
    }

    [Fact]
    public async Task App_PublishedAheadOfTime_HasNoWarningsAndRunsAGuest()
    {
        var app = MakeApp("native", "using System.Runtime.Intrinsics.X86;\nusing Vmm.Backends.Software;\n" + Code(Repository.Read(Sample)) + Translated);
        var published = await Command.DotnetAsync(app, "publish", "-c", "Release", "-r", RuntimeInformation.RuntimeIdentifier, "-o", "out", "-p:PublishAot=true", "-p:TrimmerSingleWarn=false",
            "-p:UseSharedCompilation=false", "-nodeReuse:false", "-v", "minimal");
        SkipWithoutCompiler(published);
        var output = published.Succeeded("dotnet publish");
        Assert.DoesNotContain(output.Split('\n'), l => l.Contains("warning", StringComparison.OrdinalIgnoreCase));
        Assert.False(File.Exists(Path.Combine(app, "out", "native.dll")), "This is not native code.");
        var ran = (await Command.RunAsync(Path.Combine(app, "out", OperatingSystem.IsWindows() ? "native.exe" : "native"), app)).Succeeded("the native app");
        AssertRan(ran, "right", "translated");
    }

    [Fact]
    public async Task Tool_Installed_RunsDoctorAndHelp()
    {
        var tools = Path.Combine(feed.Directory, "tools");
        (await Command.DotnetAsync(feed.Directory, "tool", "install", "Vmm.Cli", "--tool-path", tools, "--version", feed.Version)).Succeeded("dotnet tool install");
        var vmm = Path.Combine(tools, OperatingSystem.IsWindows() ? "vmm.exe" : "vmm");
        Assert.Contains("vmm run --linux", (await Command.RunAsync(vmm, feed.Directory, "--help")).Succeeded("vmm --help"));
        Assert.Contains("software", (await Command.RunAsync(vmm, feed.Directory, "doctor")).Succeeded("vmm doctor"));
        Assert.StartsWith(feed.Version, (await Command.RunAsync(vmm, feed.Directory, "--version")).Succeeded("vmm --version"));
    }

    [Fact]
    public void Readme_ShowsTheSampleThatIsTested()
    {
        var code = Code(Repository.Read(Sample));
        Assert.Contains($"```csharp\n#:package Vmm@0.1.0\n{code.TrimEnd()}\n```", Repository.Read("README.md"));
    }

    private static void AssertRan(string output, params string[] more)
    {
        var lines = output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(FirstLine, lines[0]);
        Assert.StartsWith(LastLine, lines[1]);
        Assert.Equal(more, lines[2..]);
    }

    // A compiler that cannot be had is told as such; anything else that goes wrong is a failure.
    private static void SkipWithoutCompiler(Command published)
    {
        if (published.ExitCode == 0) return;
        (string Sign, string Missing)[] lacks =
        [
            ("Platform linker", "a linker (install clang or gcc)"),
            ("cannot find -lz", "zlib's headers (install zlib1g-dev)"),
            ("NU1101: Unable to find package runtime.", "the package of the ahead-of-time compiler, in none of the user's sources"),
            ("NU1102: Unable to find package runtime.", "the package of the ahead-of-time compiler, in none of the user's sources"),
            ("NU1101: Unable to find package Microsoft.DotNet.ILCompiler", "the package of the ahead-of-time compiler, in none of the user's sources"),
        ];
        foreach (var (sign, missing) in lacks) Assert.SkipWhen(published.Output.Contains(sign, StringComparison.Ordinal), $"NativeAOT needs {missing}.");
    }

    // A second guest, whose loop is hot enough to be translated on hosts with AVX2 and BMI2.
    private const string Translated = """
        var b = new Assembler(64);
        var (loop, wrong) = (b.CreateLabel(), b.CreateLabel());
        b.mov(ecx, 1000);
        b.xor(ebx, ebx);
        b.Label(ref loop);
        b.add(ebx, ecx);
        b.dec(ecx);
        b.jne(loop);
        b.cmp(ebx, 500500);
        b.jne(wrong);
        b.mov(dx, 0x3F8);
        foreach (var c in "right\n") { b.mov(al, (byte)c); b.@out(dx, al); }
        b.Label(ref wrong);
        b.mov(dx, 0x604);
        b.mov(ax, 0x3400);
        b.@out(dx, ax);
        var hot = new MemoryStream();
        b.Assemble(new StreamCodeWriter(hot), ProgramBoot.DefaultLoadAddress);
        var second = new ConsolePipe();
        await using var translating = VmmHost.CreateBuilder(second).WithBackend(new SoftwareHypervisor { Engine = CpuEngine.Translate }).WithProgram(hot.ToArray()).Build();
        await translating.StartAsync();
        await translating.Completion;
        Console.WriteLine(await second.ReadLineAsync());
        var can = X86Base.IsSupported && (X86Base.CpuId(7, 0).Ebx & 0x120) == 0x120;
        Console.WriteLine(translating.Partition.Vcpus[0].Counters.TranslatedBlocks > 0 == can ? "translated" : $"not translated, though the host can: {can}");

        """;

    private static string Code(string fileBasedApp) => string.Concat(fileBasedApp.Split('\n').Where(l => !l.StartsWith("#:", StringComparison.Ordinal)).Select(l => l + "\n")).TrimEnd() + "\n";

    private string MakeApp(string name, string? code = null)
    {
        feed.Write($"{name}/Program.cs", code ?? Code(Repository.Read(Sample)));
        feed.Write($"{name}/{name}.csproj", $"""
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <ImplicitUsings>enable</ImplicitUsings>
                <Nullable>enable</Nullable>
                <InvariantGlobalization>true</InvariantGlobalization>
              </PropertyGroup>
              <ItemGroup>
                <PackageReference Include="Vmm" Version="{feed.Version}" />
              </ItemGroup>
            </Project>
            """);
        return Path.Combine(feed.Directory, name);
    }

    private string PathOf(string name, string extension) => Path.Combine(feed.Feed, $"{name}.{feed.Version}.{extension}");

    private ZipArchive Open(string name) => ZipFile.OpenRead(PathOf(name, "nupkg"));
}
