using Vmm.Backends.Whp.Interop;
using Vmm.Core.Backends;
using Vmm.Core.Errors;

namespace Vmm.Backends.Whp;

/// <summary>
/// The Windows Hypervisor Platform: guests on the hypervisor of Windows 10 (2004 and later), Windows 11 and Windows Server, without
/// Hyper-V's own virtual machines. One machine per process can have its memory mapped; see the documentation of the backends.
/// </summary>
public sealed class WhpHypervisor : IHypervisor
{
    internal const string EnableCommand = "dism.exe /Online /Enable-Feature /FeatureName:HypervisorPlatform /All (as administrator, then restart)";
    internal const string LaunchCommand = "bcdedit.exe /set hypervisorlaunchtype auto (as administrator, then restart); if that changes nothing, switch virtualization (VT-x or AMD-V) on in the firmware's setup";

    private readonly WhpHost _host;

    /// <summary>Makes the backend of this host. Cheap, and works everywhere: <see cref="Probe"/> says whether it can be used.</summary>
    public WhpHypervisor()
        : this(WhpHost.Detect())
    {
    }

    /// <summary>The backend on other functions than this host's.</summary>
    internal WhpHypervisor(WhpHost host) => _host = host;

    /// <inheritdoc/>
    public string Name => "whp";

    /// <inheritdoc/>
    public HypervisorProbe Probe()
    {
        if (!_host.IsWindows) return Unusable("The Windows Hypervisor Platform needs Windows.", null);
        if (!_host.IsX64) return Unusable("The Windows Hypervisor Platform backend needs an x86-64 processor and a 64-bit process.", null);
        if (_host.Functions is not { } functions)
        {
            return Unusable(_host.IsHomeEdition
                ? $"{WhpFunctions.PlatformLibrary} is not there: on this Windows Home the optional feature 'Windows Hypervisor Platform' is off (it exists on Home, although Hyper-V does not)."
                : $"{WhpFunctions.PlatformLibrary} is not there: the optional feature 'Windows Hypervisor Platform' is off.", EnableCommand);
        }

        if (!functions.IsComplete) return Unusable("This Windows is too old: its hypervisor platform lacks functions of Windows 10 version 2004.", "update Windows to version 2004 (build 19041) or later");
        var platform = new WhpPlatform(functions);
        var result = platform.TryGetHypervisorPresent(out var present);
        if (result < 0) return Unusable($"The hypervisor platform does not answer: WHvGetCapability failed with 0x{result:X8}.", EnableCommand);
        if (!present) return Unusable("The hypervisor of Windows does not run: it is switched off at boot, or virtualization is off in the firmware.", LaunchCommand);
        var features = platform.GetCapability(WHV_CAPABILITY_CODE.WHvCapabilityCodeFeatures);
        if ((features & WHV_CAPABILITY_FEATURES.LocalApicEmulation) == 0) return Unusable("This host's hypervisor platform does not emulate local APICs.", "update Windows to version 2004 (build 19041) or later");
        return new("whp", true, "The Windows Hypervisor Platform works.", null, Capabilities(features));
    }

    /// <inheritdoc/>
    public IPartition CreatePartition(PartitionOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (Probe() is { IsUsable: false } probe) throw new HypervisorException("WHvCreatePartition", WhpResult.E_FAIL, probe.Detail, probe.Fix);
        return new WhpPartition(_host.Functions!, options);
    }

    internal static HypervisorCapabilities Capabilities(ulong features) => HypervisorCapabilities.LocalApic | HypervisorCapabilities.FullSystem
        | ((features & WHV_CAPABILITY_FEATURES.DirtyPageTracking) != 0 ? HypervisorCapabilities.DirtyLog : HypervisorCapabilities.None);

    private static HypervisorProbe Unusable(string detail, string? fix) => new("whp", false, detail, fix, HypervisorCapabilities.None);
}
