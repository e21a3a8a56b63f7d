using Vmm.Cli.Tests.Support;

namespace Vmm.Cli.Tests;

public class ArgumentTests
{
    [Theory]
    [InlineData("nothing to run", "run")]
    [InlineData("'foo'", "foo")]
    [InlineData("'--frobnicate'", "run", "--linux", "--frobnicate")]
    [InlineData("--firmware starts by itself", "run", "--linux", "--firmware", "x")]
    [InlineData("--firmware starts by itself", "run", "--kernel", "x", "--firmware", "x")]
    [InlineData("--initrd goes with --kernel", "run", "--linux", "--initrd", "x")]
    [InlineData("--initrd goes with --kernel", "run", "--firmware", "x", "--initrd", "x")]
    [InlineData("--module goes with --kernel", "run", "--firmware", "x", "--module", "x")]
    [InlineData("--append goes with", "run", "--firmware", "x", "--append", "x")]
    [InlineData("--command goes with --linux", "run", "--kernel", "x", "--command", "x")]
    [InlineData("--busybox goes with --linux", "run", "--kernel", "x", "--busybox", "x")]
    [InlineData("--board q35: choose microvm or pc.", "run", "--linux", "--board", "q35")]
    [InlineData("--backend xen: choose auto, kvm, whp or software.", "run", "--linux", "--backend", "xen")]
    [InlineData("--cpu-model 386: choose", "run", "--linux", "--cpu-model", "386")]
    [InlineData("--memory 256:", "run", "--linux", "--memory", "256")]
    [InlineData("--memory 1K:", "run", "--linux", "--memory", "1K")]
    [InlineData("--memory 99999999999G:", "run", "--linux", "--memory", "99999999999G")]
    [InlineData("--memory -1M:", "run", "--linux", "--memory=-1M")]
    [InlineData("--cpus 0:", "run", "--linux", "--cpus", "0")]
    [InlineData("--cpus 256:", "run", "--linux", "--cpus", "256")]
    [InlineData("--cpus two:", "run", "--linux", "--cpus", "two")]
    [InlineData("--debug-exit 0x10000:", "run", "--linux", "--debug-exit", "0x10000")]
    [InlineData("--debug-exit 65535:", "run", "--linux", "--debug-exit", "65535")]
    [InlineData("--timeout 0:", "run", "--linux", "--timeout", "0")]
    [InlineData("--timeout NaN:", "run", "--linux", "--timeout", "NaN")]
    [InlineData("--timeout 1e99:", "run", "--linux", "--timeout", "1e99")]
    [InlineData("--console stdio goes without --virtio-console", "run", "--linux", "--virtio-console", "--console", "stdio")]
    [InlineData("--kernel :", "run", "--kernel", "")]
    [InlineData("--kernel", "run", "--kernel")]
    public async Task Arguments_Wrong_AreNamedInOneLine(string message, params string[] arguments)
    {
        using var cli = new CliRun();
        Assert.Equal(ExitCode.BadArguments, await cli.RunAsync(arguments));
        Assert.Contains(cli.Error.Split('\n'), l => l.StartsWith("vmm: ", StringComparison.Ordinal) && l.Contains(message, StringComparison.Ordinal));
        Assert.Contains("--help", cli.Error);
        Assert.DoesNotContain("   at ", cli.Error);
        Assert.Empty(cli.Output);
    }

    [Fact]
    public async Task Arguments_SeveralWrong_AreAllNamed()
    {
        using var cli = new CliRun();
        Assert.Equal(ExitCode.BadArguments, await cli.RunAsync("run", "--linux", "--memory", "5", "--cpus", "0", "--board", "x", "--timeout", "-"));
        foreach (var option in (string[])["--memory 5", "--cpus 0", "--board x", "--timeout -"]) Assert.Contains(option, cli.Error);
    }

    [Fact]
    public async Task Argument_BeginningWithAt_IsNotAFileOfArguments()
    {
        using var cli = new CliRun();
        Assert.Equal(ExitCode.BadImage, await cli.RunAsync("run", "--kernel", "@" + cli.File("arguments", [])));
        Assert.Contains("there is no such file", cli.Error);
    }

    [Theory]
    [InlineData]
    [InlineData("--help")]
    [InlineData("run", "--help")]
    public async Task Help_Teaches(params string[] arguments)
    {
        using var cli = new CliRun();
        Assert.Equal(0, await cli.RunAsync(arguments));
        Assert.Contains("vmm run --linux", cli.Text);
        Assert.Empty(cli.Error);
    }

    [Fact]
    public async Task RunHelp_TellsOptionsExitCodesAndKeys()
    {
        using var cli = new CliRun();
        await cli.RunAsync("run", "--help");
        string[] options = ["--linux", "--kernel", "--firmware", "--initrd", "--module", "--append", "--board", "--backend", "--memory", "--cpus", "--cpu-model", "--debug-exit", "--console", "--timeout", "--report"];
        foreach (var option in options) Assert.Contains($"  {option}", cli.Text);
        foreach (var code in ExitCodeTests.EvenCodes) Assert.Contains($" {code} ", cli.Text);
        Assert.Contains("Ctrl-A x", cli.Text);
    }

    [Fact]
    public async Task Version_IsPrinted()
    {
        using var cli = new CliRun();
        Assert.Equal(0, await cli.RunAsync("--version"));
        Assert.Matches(@"^\d+\.\d+\.\d+", cli.Text);
    }
}
