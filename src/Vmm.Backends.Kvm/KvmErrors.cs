using System.Runtime.InteropServices;
using Vmm.Backends.Kvm.Interop;
using Vmm.Core.Errors;

namespace Vmm.Backends.Kvm;

/// <summary>What an errno of KVM's means, and what mends it.</summary>
internal static class KvmErrors
{
    public static HypervisorException Of(string call, int error) => new(call, error, Marshal.GetPInvokeErrorMessage(error), Hint(call, error));

    private static string? Hint(string call, int error) => error switch
    {
        Linux.ENOMEM => "give this process more memory (ulimit -v, the cgroup's memory.max), or run fewer and smaller machines",
        Linux.EMFILE => "raise the limit of open files (ulimit -n): a machine takes two files and one more for each vCPU and doorbell",
        Linux.ENFILE => "raise the system's limit of open files (sysctl fs.file-max)",
        Linux.EACCES or Linux.EPERM => "give this user read and write access to /dev/kvm: sudo usermod -aG kvm $USER, then log in again",
        Linux.ENOSPC when call.Contains("EVENTFD", StringComparison.Ordinal) => "use fewer doorbells: KVM has 1000 for each bus of a machine",
        Linux.EEXIST when call.Contains("VCPU", StringComparison.Ordinal) => "each vCPU needs an index of its own",
        Linux.EINVAL when call == "KVM_SET_USER_MEMORY_REGION" => "use fewer memory regions, and let each begin and end below the host's physical address limit",
        Linux.EINVAL when call == "KVM_CREATE_VCPU" => "use fewer vCPUs, or load the KVM module with support for more",
        _ => null,
    };
}
