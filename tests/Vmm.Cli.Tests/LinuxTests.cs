using System.Text;
using System.Text.Json;
using Vmm.Cli.Tests.Support;
using Vmm.Guests;

namespace Vmm.Cli.Tests;

/// <summary><c>vmm run --linux</c> with the real kernel.</summary>
public class LinuxTests
{
    [Fact]
    public async Task Linux_ScriptPipedIn_IsAnsweredAndTheGuestPowersOff()
    {
        await HaveGuestsAsync();
        using var cli = new CliRun { Input = new MemoryStream(Encoding.ASCII.GetBytes("uname -a\necho $((6 * 7))")) };
        var path = cli.PathOf("report.json");
        Assert.Equal(0, await cli.RunAsync("run", "--linux", "--timeout", "300", "--report", path));
        Assert.Contains("\nLinux vmm ", cli.Output);
        Assert.Contains("\n42\r\n", cli.Output);
        using var report = JsonDocument.Parse(await File.ReadAllTextAsync(path));
        var marks = report.RootElement.GetProperty("timeline").EnumerateArray().Select(m => m.GetProperty("name").GetString()).ToList();
        Assert.Equal(["loaded", "started", "first-instruction", "first-console-byte", "linux-version", "run-init", "guest-ready", "shell-prompt", "ended"], marks);
        Assert.True(report.RootElement.GetProperty("instructionsRetired").GetInt64() > 100_000_000);
    }

    [Fact]
    public async Task Linux_Command_RunsAndTheGuestPowersOff()
    {
        await HaveGuestsAsync();
        using var cli = new CliRun();
        Assert.Equal(0, await cli.RunAsync("run", "--linux", "--command", "cat; nproc", "--append", "quiet", "--cpus", "2", "--timeout", "300"));
        Assert.Contains($"{LinuxShell.DefaultReadyMarker}\r\n", cli.Output);
        Assert.Contains("\n2\r\n", cli.Output);
    }

    [Fact]
    public async Task Linux_FilesGivenThatAreNone_AreNamed()
    {
        using var cli = new CliRun();
        Assert.Equal(ExitCode.BadImage, await cli.RunAsync("run", "--linux", "--kernel", cli.File("kernel", [1, 2, 3])));
        Assert.Contains("no Linux kernel was found", cli.Error);
        Assert.Contains("what to do:", cli.Error);
    }

    private static async Task HaveGuestsAsync()
    {
        try
        {
            var images = new GuestImages();
            await images.FindKernelAsync();
            await images.FindBusyboxAsync();
        }
        catch (GuestImageException e)
        {
            Assert.Skip(e.Message);
        }
    }
}
