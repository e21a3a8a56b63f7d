using System.Text;
using Vmm.Guests.Tests.Cpio;

namespace Vmm.Guests.Tests;

public class LinuxShellTests
{
    private const string Awkward = "it's $(id) `x` \"q\" \\ ; & | ☃ -n";

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Init_OfEveryOption_IsGoodShell(bool command)
    {
        string busybox = (await RealGuests.BusyboxAsync()).Path;
        var options = new LinuxShellOptions { ReadyMarker = Awkward, Prompt = Awkward, HostName = Awkward, Command = command ? Awkward : null };
        HostTool.Run(busybox, ["sh", "-n"], Init(busybox, options));
    }

    [Fact]
    public async Task Marker_WithQuotesAndDollars_IsPrintedAsItIs()
    {
        string busybox = (await RealGuests.BusyboxAsync()).Path;
        string init = Encoding.UTF8.GetString(Init(busybox, new LinuxShellOptions { ReadyMarker = Awkward }));
        string line = Assert.Single(init.Split('\n'), l => l.StartsWith("echo 'it", StringComparison.Ordinal));
        Assert.Equal(Awkward + "\n", Encoding.UTF8.GetString(HostTool.Run(busybox, ["sh", "-c", line])));
    }

    [Fact]
    public async Task Applets_NeededByInit_AreInTheBusybox()
    {
        string busybox = (await RealGuests.BusyboxAsync()).Path;
        string[] applets = Encoding.ASCII.GetString(HostTool.Run(busybox, ["--list"])).Split('\n');
        Assert.Superset(new HashSet<string> { "sh", "mount", "setsid", "cttyhack", "poweroff" }, applets.ToHashSet());
    }

    [Fact]
    public void Command_Given_IsAFileOfItsOwn()
    {
        using var scratch = new Scratch();
        var entries = KernelCpioReader.Read(LinuxShell.BuildInitramfs(scratch.Write("bb", [1]), new LinuxShellOptions { Command = "a\r\nb" }));
        Assert.Equal("a\nb\n", Assert.Single(entries, e => e.Name == "etc/vmm-command").Text);
        string init = entries.Single(e => e.Name == "init").Text;
        Assert.Contains("sh /etc/vmm-command\n", init);
        Assert.EndsWith("exec $b poweroff -f\n", init);
    }

    [Fact]
    public void Customize_Given_AddsToTheArchive()
    {
        using var scratch = new Scratch();
        byte[] archive = LinuxShell.BuildInitramfs(scratch.Write("bb", [1]), new LinuxShellOptions { Customize = i => i.AddFile("extra", "1") });
        Assert.Contains(KernelCpioReader.Read(archive), e => e.Name == "extra");
    }

    [Theory]
    [InlineData("two\nlines")]
    [InlineData("nul\0")]
    public void Marker_NotOneLine_IsRefused(string marker)
    {
        using var scratch = new Scratch();
        Assert.Throws<ArgumentException>(() => LinuxShell.BuildInitramfs(scratch.Write("bb", [1]), new LinuxShellOptions { ReadyMarker = marker }));
    }

    private static byte[] Init(string busybox, LinuxShellOptions options) =>
        KernelCpioReader.Read(LinuxShell.BuildInitramfs(busybox, options)).Single(e => e.Name == "init").Content;
}
