using Vmm.Backends.Software;
using Vmm.Guests.Tests.Boots;

namespace Vmm.Guests.Tests.Jit;

/// <summary>A guest with a JIT compiler, whose code is made, patched and moved all the time. VMM_JIT_SECONDS is how long it runs (default 3).</summary>
[Collection("boots")]
public class GuestJitTests
{
    [Theory]
    [InlineData(CpuEngine.Interpret)]
    [InlineData(CpuEngine.Translate)]
    public async Task Jit_MakesAndPatchesFunctions_AllResultsAreRight(CpuEngine engine)
    {
        var seconds = Environment.GetEnvironmentVariable("VMM_JIT_SECONDS") ?? "3";
        await using var linux = await BootedLinux.StartAsync(engine: engine, command: $"{GuestJit.Path} {seconds}", customize: i => i.AddJit());
        Assert.Equal(Core.MachineExitKind.PoweredOff, (await linux.EndAsync()).Kind);
        Assert.Matches(@"jit: [1-9]\d* rounds right\r?\n", linux.Console.Text);
        Assert.Contains(LinuxShell.CommandExitMarker + "0", linux.Console.Text, StringComparison.Ordinal);
        TestContext.Current.TestOutputHelper!.WriteLine(linux.Console.Text.Split('\n').First(l => l.StartsWith("jit:", StringComparison.Ordinal)));
    }
}
