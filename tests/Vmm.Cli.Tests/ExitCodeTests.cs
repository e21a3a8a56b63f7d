using Vmm.Cli.Tests.Support;
using Vmm.Core.Backends;

namespace Vmm.Cli.Tests;

public class ExitCodeTests
{
    internal static readonly int[] EvenCodes =
    [
        ExitCode.PoweredOff, ExitCode.BadArguments, ExitCode.BadImage, ExitCode.NoBackend, ExitCode.HostFailure, ExitCode.TripleFault, ExitCode.GuestReset, ExitCode.GuestPanic, ExitCode.TimedOut, ExitCode.Interrupted,
    ];

    [Fact]
    public void Codes_AreEvenDistinctAndFitAByte()
    {
        Assert.Equal(EvenCodes.Length, EvenCodes.Distinct().Count());
        Assert.All(EvenCodes, c => Assert.True(c % 2 == 0 && c is >= 0 and < 256));
    }

    [Theory]
    [InlineData(0u, 1)]
    [InlineData(1u, 3)]
    [InlineData(0x10u, 33)]
    [InlineData(127u, 255)]
    public void DebugExit_Value_IsShiftedAndOdd(uint value, int code) => Assert.Equal(code, ExitCode.DebugExit(value));

    [Fact]
    public void DebugExit_AnyValue_IsOdd() => Assert.All((uint[])[0x8000_0000, uint.MaxValue, 0x7FFF_FFFF], v => Assert.Equal(1, ExitCode.DebugExit(v) & 1));

    [Fact]
    public async Task Guest_PowersOff_GivesZero() => await EndsWithAsync(ExitCode.PoweredOff, Rom.PowersOff(), null);

    [Fact]
    public async Task Guest_Resets_GivesItsCode() => await EndsWithAsync(ExitCode.GuestReset, Rom.Resets(), "reset");

    [Fact]
    public async Task Guest_TripleFaults_GivesItsCode() => await EndsWithAsync(ExitCode.TripleFault, Rom.TripleFaults(), "triple fault");

    [Fact]
    public async Task Guest_Panics_GivesItsCode() => await EndsWithAsync(ExitCode.GuestPanic, Rom.Panics(), "panicked");

    [Fact]
    public async Task Guest_WritesDebugExit_GivesOddCode() => await EndsWithAsync(35, Rom.Exits(17), null, "--debug-exit", "0xf4");

    [Fact]
    public async Task Guest_WritesDebugExitElsewhere_GivesOddCode() => await EndsWithAsync(3, Rom.Exits(1, 0x50), null, "--debug-exit", "80");

    [Theory]
    [InlineData("microvm")]
    [InlineData("pc")]
    public async Task Guest_OnEitherBoard_PowersOff(string board) => await EndsWithAsync(ExitCode.PoweredOff, Rom.PowersOff(), null, "--board", board, "--memory", "16M", "--cpus", "2", "--cpu-model", "max", "--backend", "software");

    [Fact]
    public async Task Guest_Halts_TimesOut() => await EndsWithAsync(ExitCode.TimedOut, Rom.Hangs(), "the time of 0.2 s is over", "--timeout", "0.2");

    [Fact]
    public async Task Guest_Spins_TimesOut() => await EndsWithAsync(ExitCode.TimedOut, Rom.Spins(), "the time of 0.2 s is over", "--timeout", "0.2");

    [Fact]
    public async Task Image_Missing_GivesItsCode()
    {
        using var cli = new CliRun();
        Assert.Equal(ExitCode.BadImage, await cli.RunAsync("run", "--kernel", cli.PathOf("nowhere")));
        Assert.Equal($"vmm: --kernel {cli.PathOf("nowhere")}: there is no such file.\n", cli.Error.ReplaceLineEndings("\n"));
    }

    [Fact]
    public async Task Image_IsADirectory_GivesItsCode()
    {
        using var cli = new CliRun();
        Assert.Equal(ExitCode.BadImage, await cli.RunAsync("run", "--firmware", cli.PathOf("")));
        Assert.Contains("--firmware", cli.Error);
    }

    [Theory]
    [InlineData("--kernel")]
    [InlineData("--firmware")]
    public async Task Image_IsNoImage_GivesItsCode(string option)
    {
        using var cli = new CliRun();
        Assert.Equal(ExitCode.BadImage, await cli.RunAsync("run", option, cli.File("text", "no image"u8.ToArray())));
        Assert.StartsWith("vmm: ", cli.Error);
        Assert.DoesNotContain("   at ", cli.Error);
    }

    [Fact]
    public async Task Module_Missing_GivesItsCode()
    {
        using var cli = new CliRun();
        Assert.Equal(ExitCode.BadImage, await cli.RunAsync("run", "--kernel", cli.File("kernel", MultibootKernel.Make()), "--module", cli.PathOf("nowhere") + "=x"));
        Assert.Contains("--module", cli.Error);
    }

    [Theory]
    [InlineData("kvm")]
    [InlineData("whp")]
    public async Task Backend_NotUsable_GivesItsCodeAndTheReason(string backend)
    {
        Assert.SkipWhen(VmmHost.Probe().Any(p => p.Backend == backend && p.IsUsable), $"{backend} is usable here.");
        using var cli = new CliRun();
        Assert.Equal(ExitCode.NoBackend, await cli.RunRomAsync(Rom.PowersOff(), "--backend", backend));
        Assert.Contains(backend, cli.Error);
        Assert.Contains("vmm doctor", cli.Error);
    }

    [Fact]
    public async Task Backend_ThatDoesNotRunWholeSystems_IsToldOfWithTheOneThatDoes()
    {
        Assert.SkipUnless(VmmHost.Probe().Any(p => p is { Backend: "kvm", IsUsable: true } && !p.Capabilities.HasFlag(HypervisorCapabilities.FullSystem)), "KVM here is absent, or runs whole systems.");
        using var cli = new CliRun();
        Assert.Equal(ExitCode.PoweredOff, await cli.RunRomAsync(Rom.PowersOff(), "--backend", "kvm"));
        Assert.Contains("--backend software", cli.Error);
    }

    private static async Task EndsWithAsync(int code, byte[] rom, string? sentence, params string[] arguments)
    {
        using var cli = new CliRun();
        Assert.Equal(code, await cli.RunRomAsync(rom, arguments));
        if (sentence is null) Assert.Empty(cli.Error);
        else Assert.Contains(sentence, cli.Error);
    }
}
