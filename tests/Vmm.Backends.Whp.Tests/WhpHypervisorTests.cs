using Vmm.Backends.Whp.Interop;
using Vmm.Core.Backends;
using Vmm.Core.Buses;
using Vmm.Core.Errors;
using Vmm.Core.Memory;
using Vmm.Core.Time;

namespace Vmm.Backends.Whp.Tests;

public class WhpHypervisorTests
{
    [Fact]
    public void Probe_NotWindows_SaysWhatItNeeds()
    {
        var probe = new WhpHypervisor(new WhpHost(false, true, false, null)).Probe();

        Assert.False(probe.IsUsable);
        Assert.Contains("needs Windows", probe.Detail, StringComparison.Ordinal);
        Assert.Null(probe.Fix);
    }

    [Fact]
    public void Probe_NotX64_SaysSo() => Assert.Contains("x86-64", new WhpHypervisor(new WhpHost(true, false, false, null)).Probe().Detail, StringComparison.Ordinal);

    [Fact]
    public void Probe_NoLibrary_GivesTheCommandThatEnablesTheFeature()
    {
        var probe = new WhpHypervisor(new WhpHost(true, true, false, null)).Probe();

        Assert.Contains("WinHvPlatform.dll", probe.Detail, StringComparison.Ordinal);
        Assert.StartsWith("dism.exe /Online /Enable-Feature /FeatureName:HypervisorPlatform", probe.Fix, StringComparison.Ordinal);
    }

    [Fact]
    public void Probe_WindowsHome_SaysThatTheFeatureExistsThere() =>
        Assert.Contains("Windows Home", new WhpHypervisor(new WhpHost(true, true, true, null)).Probe().Detail, StringComparison.Ordinal);

    [Fact]
    public void Probe_FunctionsMissing_AsksForAnUpdate()
    {
        var probe = new WhpHypervisor(new WhpHost(true, true, false, new WhpFunctions())).Probe();

        Assert.False(probe.IsUsable);
        Assert.Contains("update Windows", probe.Fix, StringComparison.Ordinal);
    }

    [Fact]
    public void CreatePartition_Unusable_ThrowsWithTheProbesReasonAndFix()
    {
        var memory = new GuestMemory();
        var options = new PartitionOptions { Bus = new SystemBus(memory), Clock = new VmClock(TimeProvider.System) };

        var e = Assert.Throws<HypervisorException>(() => new WhpHypervisor(new WhpHost(true, true, false, null)).CreatePartition(options));

        Assert.Contains("HypervisorPlatform", e.Hint, StringComparison.Ordinal);
    }

    [Fact]
    public void Failure_SecondPartitionOfTheProcess_NamesTheLimitAndTheWayOut()
    {
        var e = WhpResult.Failure(WhpResult.ERROR_VID_PARTITION_ALREADY_EXISTS, "WHvMapGpaRange");

        Assert.Contains("one partition per process", e.Message, StringComparison.Ordinal);
        Assert.Contains("software", e.Hint, StringComparison.Ordinal);
    }

    [Fact]
    public void Detect_OnThisHost_AgreesWithTheSystem() => Assert.Equal(OperatingSystem.IsWindows(), WhpHost.Detect().IsWindows);
}
