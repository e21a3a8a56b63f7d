using System.Runtime.InteropServices;
using Vmm.Backends.Kvm.Interop;
using Vmm.Core.Backends;

namespace Vmm.Backends.Kvm;

/// <summary>Why KVM cannot be used on this host, and what would mend it.</summary>
internal static class KvmAbsence
{
    /// <summary>What is wrong with the platform itself, or null.</summary>
    public static HypervisorProbe? OfPlatform() =>
        !OperatingSystem.IsLinux() ? No("KVM is part of Linux, and this is another system.", null)
        : RuntimeInformation.ProcessArchitecture != Architecture.X64 ? No($"This backend runs x86-64 guests on x86-64 hosts; this process is {RuntimeInformation.ProcessArchitecture}.", null)
        : null;

    /// <summary>What an errno of opening the device means here.</summary>
    public static HypervisorProbe Of(string device, int error) => error switch
    {
        Linux.ENOENT or Linux.ENODEV or Linux.ENXIO => Missing(device, ReadText("/proc/cpuinfo"), File.Exists("/sys/module/kvm/initstate") || Directory.Exists("/sys/module/kvm")),
        Linux.EACCES or Linux.EPERM => No($"{device} is there, but this user may not open it.",
            "sudo usermod -aG kvm $USER, then log in again; where there is no group kvm, a udev rule: echo 'KERNEL==\"kvm\", GROUP=\"kvm\", MODE=\"0660\"' | sudo tee /etc/udev/rules.d/65-kvm.rules && sudo udevadm trigger /dev/kvm; in a container: --device /dev/kvm"),
        _ => No($"{device} cannot be opened: {Marshal.GetPInvokeErrorMessage(error)} ({error}).", null),
    };

    /// <summary>Tells of a device that is not there.</summary>
    /// <param name="device">Its path.</param>
    /// <param name="cpuinfo">The text of /proc/cpuinfo.</param>
    /// <param name="hasModule">Whether the module kvm is loaded or built in.</param>
    internal static HypervisorProbe Missing(string device, string cpuinfo, bool hasModule)
    {
        var flags = cpuinfo.Split('\n').FirstOrDefault(l => l.StartsWith("flags", StringComparison.Ordinal))?.Split(' ', '\t') ?? [];
        var vendor = Array.IndexOf(flags, "vmx") >= 0 ? "intel" : Array.IndexOf(flags, "svm") >= 0 ? "amd" : null;
        if (vendor is not null)
        {
            return hasModule
                ? No($"There is no {device}, though the processor can virtualise and the module kvm is there.", $"sudo modprobe kvm-{vendor}; if that says 'not supported', switch {(vendor == "intel" ? "VT-x" : "SVM")} on in the firmware set-up; in a container: --device /dev/kvm")
                : No($"There is no {device}: the module kvm is not loaded.", $"sudo modprobe kvm-{vendor}");
        }

        return Array.IndexOf(flags, "hypervisor") >= 0
            ? No($"There is no {device}: this is itself a virtual machine, to which its host does not give virtualisation.", "on the host, switch nested virtualisation on: modprobe kvm-intel nested=1 (or kvm-amd nested=1) and CPU mode host-passthrough; on a cloud, choose an instance type with nested virtualisation or a bare-metal one")
            : No($"There is no {device}, and the processor does not offer virtualisation.", "switch VT-x (Intel) or SVM (AMD) on in the firmware set-up, then sudo modprobe kvm-intel or kvm-amd");
    }

    private static HypervisorProbe No(string detail, string? fix) => new("kvm", false, detail, fix, HypervisorCapabilities.None);

    private static string ReadText(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
