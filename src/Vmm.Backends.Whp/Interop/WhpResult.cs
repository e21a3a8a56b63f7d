// HRESULTs of the platform (winerror.h, facility VIRTUALIZATION) and what they mean to a user.
using Vmm.Core.Errors;

namespace Vmm.Backends.Whp.Interop;

/// <summary>Turns the platform's results into errors that say what mends them.</summary>
internal static class WhpResult
{
    public const int
        E_FAIL = unchecked((int)0x80004005),
        E_OUTOFMEMORY = unchecked((int)0x8007000E),
        WHV_E_UNKNOWN_CAPABILITY = unchecked((int)0x80370300),
        WHV_E_INSUFFICIENT_BUFFER = unchecked((int)0x80370301),
        WHV_E_UNKNOWN_PROPERTY = unchecked((int)0x80370302),
        WHV_E_UNSUPPORTED_HYPERVISOR_CONFIG = unchecked((int)0x80370303),
        WHV_E_INVALID_PARTITION_CONFIG = unchecked((int)0x80370304),
        WHV_E_GPA_RANGE_NOT_FOUND = unchecked((int)0x80370305),
        WHV_E_VP_ALREADY_EXISTS = unchecked((int)0x80370306),
        WHV_E_VP_DOES_NOT_EXIST = unchecked((int)0x80370307),
        WHV_E_INVALID_VP_STATE = unchecked((int)0x80370308),
        WHV_E_INVALID_VP_REGISTER_NAME = unchecked((int)0x80370309);

    /// <summary>A second partition of this process wants memory mapped (an NTSTATUS of the VID driver, passed on as it is).</summary>
    public const int ERROR_VID_PARTITION_ALREADY_EXISTS = unchecked((int)0xC0370008);

    /// <summary>Throws where a call failed.</summary>
    /// <param name="result">The HRESULT.</param>
    /// <param name="call">The function's name.</param>
    /// <exception cref="HypervisorException">It failed.</exception>
    public static void Check(int result, string call)
    {
        if (result < 0) Throw(result, call);
    }

    /// <summary>The exception of a failed call.</summary>
    public static HypervisorException Failure(int result, string call) => result switch
    {
        ERROR_VID_PARTITION_ALREADY_EXISTS => new(call, result,
            "another machine of this process uses the Windows Hypervisor Platform, which maps the memory of one partition per process",
            "run one machine per process on this backend, dispose of the other machine first, or choose the software CPU (--backend software) for further ones"),
        E_OUTOFMEMORY => new(call, result, "the host is out of memory", "give the machine less RAM or close other machines"),
        WHV_E_UNSUPPORTED_HYPERVISOR_CONFIG => new(call, result, "the hypervisor does not run with a configuration that can hold partitions", WhpHypervisor.EnableCommand),
        WHV_E_INVALID_PARTITION_CONFIG => new(call, result, "the host does not support the partition's properties", "choose a smaller CPU model (--cpu-model x86-64-v2) or fewer vCPUs"),
        WHV_E_INVALID_VP_REGISTER_NAME => new(call, result, "this Windows does not know a register of the processor", "update Windows"),
        _ => new(call, result, $"the platform returned 0x{result:X8}"),
    };

    private static void Throw(int result, string call) => throw Failure(result, call);
}
