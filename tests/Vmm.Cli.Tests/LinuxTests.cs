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
        Assert.True(report.RootElement.GetProperty("exits").GetProperty("port-write").GetInt64() > 1_000);
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

    [Theory]
    [InlineData("mmio", "microvm")]
    [InlineData("pci", "pc")]
    public async Task Linux_WithDisksAndRandomBytes_SeesThem(string transport, string board)
    {
        await HaveGuestsAsync();
        using var cli = new CliRun();
        var (first, second) = (cli.File("a.raw", Encoding.ASCII.GetBytes("hello".PadRight(8192))), cli.PathOf("b.qcow2"));
        Assert.Equal(0, await cli.RunAsync("image", "create", second, "4M", "--format", "qcow2"));
        Assert.Equal(0, await cli.RunAsync("run", "--linux", "--append", "quiet", "--timeout", "300", "--transport", transport, "--board", board, "--rng",
            "--disk", $"{first},format=raw,overlay,serial=one", "--disk", $"{second},format=qcow2,iops=10000",
            "--command", "cat /sys/block/vda/serial; head -c 5 /dev/vda; echo; cat /sys/block/vdb/size; echo there | dd of=/dev/vda conv=sync 2>/dev/null; dd if=/dev/vda of=/dev/vdb bs=512 count=1 2>/dev/null; head -c 4 /dev/hwrng | wc -c"));
        Assert.Matches(@"one\r?\n?hello\r\n8192\r\n4\r\n", cli.Output);
        Assert.StartsWith("hello", await File.ReadAllTextAsync(first));
        Assert.Equal(0, await cli.RunAsync("image", "convert", second, cli.PathOf("c.raw"), "--from", "qcow2", "--to", "raw"));
        Assert.StartsWith("there\n", await File.ReadAllTextAsync(cli.PathOf("c.raw")));
    }

    [Theory]
    [InlineData("mmio", "microvm")]
    [InlineData("pci", "pc")]
    public async Task Linux_OnAVirtioConsole_HasItsTerminalThere(string transport, string board)
    {
        await HaveGuestsAsync();
        using var cli = new CliRun();
        var log = cli.PathOf("serial.log");
        Assert.Equal(0, await cli.RunAsync("run", "--linux", "--virtio-console", "--console", log, "--timeout", "300", "--transport", transport, "--board", board, "--command", "cat /sys/class/tty/console/active; echo from $(tty); cat"));
        Assert.Matches(@"\nttyS0 hvc0\r\nfrom /dev/hvc0\r\n", cli.Output);
        Assert.Contains($"{LinuxShell.DefaultReadyMarker}\r\n", cli.Output);
        var serial = await File.ReadAllTextAsync(log);
        Assert.Contains("Linux version", serial);
        Assert.DoesNotContain("from /dev/hvc0", serial);
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
