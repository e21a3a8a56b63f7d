using System.Diagnostics;
using System.Text;
using Vmm.Cli.Tests.Support;

namespace Vmm.Cli.Tests;

/// <summary>The program as a process: its streams, signals and terminal.</summary>
public class ProcessTests
{
    private static readonly string Program = typeof(CommandLine).Assembly.Location;

    [Fact]
    public async Task Process_PipedInput_ReachesGuestAndBack()
    {
        using var cli = new CliRun();
        using var process = Start("dotnet", Program, "run", "--firmware", cli.File("rom", Rom.Echoes()));
        await process.StandardInput.WriteAsync("hello q");
        process.StandardInput.Close();
        Assert.Equal("hello q", await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken));
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(0, process.ExitCode);
    }

    [Theory]
    [InlineData("INT")]
    [InlineData("TERM")]
    public async Task Process_Signalled_KillsGuestAndGivesItsCode(string signal)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Signals are sent by kill(1).");
        using var cli = new CliRun();
        using var process = Start("dotnet", Program, "run", "--firmware", cli.File("rom", Rom.Hangs("up")));
        var buffer = new char[2];
        await process.StandardOutput.ReadBlockAsync(buffer, TestContext.Current.CancellationToken);
        using (var kill = Start("kill", $"-{signal}", process.Id.ToString())) await kill.WaitForExitAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(ExitCode.Interrupted, process.ExitCode);
    }

    [Fact]
    public async Task Process_OnATerminal_TakesItRawAndGivesItBack()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/script"), "Needs script(1) of util-linux to make a terminal.");
        using var cli = new CliRun();
        var rom = cli.File("rom", Rom.Echoes("go:"));
        string before = cli.PathOf("before"), after = cli.PathOf("after");
        var shell = $"stty -a >'{before}'; dotnet '{Program}' run --firmware '{rom}'; echo \"code $?\"; stty -a >'{after}'";
        using var process = Start("script", "-qec", shell, "/dev/null");
        var seen = new StringBuilder();
        await ReadUntilAsync(process, seen, "go:");

        // In raw mode Enter is a carriage return, Ctrl-C a byte, and nothing is echoed but by the guest.
        await process.StandardInput.WriteAsync("a\r\x03z");
        await process.StandardInput.FlushAsync(TestContext.Current.CancellationToken);
        await ReadUntilAsync(process, seen, "z");
        Assert.EndsWith("go:a\r\x03z", seen.ToString());
        await process.StandardInput.WriteAsync("\x01x");
        await process.StandardInput.FlushAsync(TestContext.Current.CancellationToken);
        await ReadUntilAsync(process, seen, $"code {ExitCode.Interrupted}");
        process.StandardInput.Close();
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Contains("icanon", await File.ReadAllTextAsync(before, TestContext.Current.CancellationToken));
        Assert.Equal(await File.ReadAllTextAsync(before, TestContext.Current.CancellationToken), await File.ReadAllTextAsync(after, TestContext.Current.CancellationToken));
    }

    private static async Task ReadUntilAsync(Process process, StringBuilder seen, string text)
    {
        var buffer = new char[256];
        while (!seen.ToString().EndsWith(text, StringComparison.Ordinal) && !(text.StartsWith("code", StringComparison.Ordinal) && seen.ToString().Contains(text, StringComparison.Ordinal)))
        {
            var count = await process.StandardOutput.ReadAsync(buffer, TestContext.Current.CancellationToken);
            Assert.True(count > 0, $"The terminal was closed before '{text}' came: {seen}");
            seen.Append(buffer, 0, count);
        }
    }

    private static Process Start(string program, params string[] arguments) => Process.Start(new ProcessStartInfo(program, arguments)
    {
        RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = false, StandardOutputEncoding = Encoding.Latin1, StandardInputEncoding = Encoding.Latin1,
    })!;
}
