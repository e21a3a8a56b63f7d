using Vmm.Core.Backends;

namespace Vmm.Backends.Kvm.Tests;

/// <summary>What a host without a usable KVM is told.</summary>
public class AbsenceTests
{
    [Theory]
    [InlineData("flags\t\t: fpu vmx", false, "modprobe kvm-intel")]
    [InlineData("flags\t\t: fpu svm", false, "modprobe kvm-amd")]
    [InlineData("flags\t\t: fpu svm", true, "firmware")]
    [InlineData("flags\t\t: fpu hypervisor", false, "nested=1")]
    [InlineData("flags\t\t: fpu", false, "firmware set-up")]
    public void Missing_ByWhatTheProcessorSays_NamesTheMend(string cpuinfo, bool hasModule, string mend)
    {
        var probe = KvmAbsence.Missing("/dev/kvm", cpuinfo, hasModule);
        Assert.False(probe.IsUsable);
        Assert.Contains(mend, probe.Fix, StringComparison.Ordinal);
    }

    [Fact]
    public void NoPermission_NamesGroupAndRule()
    {
        var probe = KvmAbsence.Of("/dev/kvm", 13);
        Assert.Contains("usermod -aG kvm", probe.Fix, StringComparison.Ordinal);
        Assert.Contains("udev", probe.Fix, StringComparison.Ordinal);
    }

    [Fact]
    public void Probe_OfAFileThatIsNotKvm_SaysSo()
    {
        var probe = new KvmHypervisor(new KvmOptions { DevicePath = "/dev/null" }).Probe();
        Assert.False(probe.IsUsable);
        Assert.Equal(HypervisorCapabilities.None, probe.Capabilities);
    }

    [Fact]
    public void CreatePartition_WithoutADevice_ThrowsWithTheMend()
    {
        var e = Assert.Throws<Core.Errors.HypervisorException>(() => new KvmHypervisor(new KvmOptions { DevicePath = "/nonexistent/kvm" }).CreatePartition(Rig.Options()));
        Assert.NotNull(e.Hint);
    }
}

