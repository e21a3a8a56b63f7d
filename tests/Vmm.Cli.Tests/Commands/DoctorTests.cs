using Vmm.Cli.Commands;
using Vmm.Cli.Tests.Support;
using Vmm.Core.Backends;
using Vmm.Guests;

namespace Vmm.Cli.Tests.Commands;

public class DoctorTests
{
    private static readonly HypervisorProbe Broken = new("kvm", false, "/dev/kvm cannot be opened: EACCES.", "sudo usermod -aG kvm $USER", HypervisorCapabilities.FullSystem);
    private static readonly HypervisorProbe Partial = new("kvm", true, "Only user-mode guests run.", null, HypervisorCapabilities.DirtyLog);
    private static readonly HypervisorProbe Whole = new("software", true, "It runs everywhere.", null, HypervisorCapabilities.FullSystem);

    [Fact]
    public async Task Backend_NotUsable_IsToldWithReasonAndFix()
    {
        using var cli = new CliRun();
        Assert.Equal(0, await RunAsync(cli, Broken, Whole));
        Assert.Matches(@"kvm +not usable +/dev/kvm cannot be opened: EACCES\.", cli.Text);
        Assert.Contains("to mend it: sudo usermod -aG kvm $USER", cli.Text);
        Assert.Matches(@"software +usable +It runs everywhere\.", cli.Text);
        Assert.Contains("--backend auto is software", cli.Text);
    }

    [Fact]
    public async Task Backend_ThatRunsNoKernel_IsNotTheAutomaticChoice()
    {
        using var cli = new CliRun();
        Assert.Equal(0, await RunAsync(cli, Partial, Whole));
        Assert.Contains("can do: dirty log", cli.Text);
        Assert.Contains("--backend auto is software", cli.Text);
    }

    [Fact]
    public async Task Backends_NoneUsable_GivesItsCode()
    {
        using var cli = new CliRun();
        Assert.Equal(ExitCode.NoBackend, await RunAsync(cli, Broken));
        Assert.Contains("none of them", cli.Text);
    }

    [Fact]
    public async Task Output_Piped_HasNoEscapeSequences()
    {
        using var cli = new CliRun();
        await RunAsync(cli, Broken, Whole);
        Assert.DoesNotContain("\x1B", cli.Text);
    }

    [Fact]
    public async Task Guests_Missing_AreTold()
    {
        using var cli = new CliRun();
        await RunAsync(cli, Whole);
        Assert.Matches(@"kernel +not found", cli.Text);
        Assert.Matches(@"busybox +not found", cli.Text);
    }

    [Fact]
    public async Task Doctor_OfThisHost_Succeeds()
    {
        using var cli = new CliRun();
        Assert.Equal(0, await cli.RunAsync("doctor"));
        foreach (var backend in VmmHost.Backends) Assert.Contains(backend.Name, cli.Text);
    }

    private static Task<int> RunAsync(CliRun cli, params HypervisorProbe[] probes) =>
        DoctorCommand.RunAsync(cli.Streams, probes, new GuestImages(new GuestImageOptions { AllowDownload = false, CacheDirectory = cli.PathOf("cache"), BootDirectory = null, HostBusyboxes = [] }), CancellationToken.None);
}
