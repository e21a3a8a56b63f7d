// winhvplatform.h: capabilities.
using Vmm.Core.Errors;

namespace Vmm.Backends.Whp.Interop;

/// <summary>The platform as a whole: what it says of itself, before there is a partition.</summary>
/// <param name="functions">Its functions.</param>
internal sealed unsafe class WhpPlatform(WhpFunctions functions)
{
    /// <summary>Whether the hypervisor runs; or the failure of asking.</summary>
    public int TryGetHypervisorPresent(out bool present)
    {
        uint value = 0, written;

        // SAFETY: the capability is a WINBOOL of four bytes.
        var result = functions.WHvGetCapability(WHV_CAPABILITY_CODE.WHvCapabilityCodeHypervisorPresent, &value, sizeof(uint), &written);
        present = result >= 0 && value != 0;
        return result;
    }

    /// <summary>A capability of eight bytes, or zero where this Windows does not know it.</summary>
    public ulong GetCapability(WHV_CAPABILITY_CODE code)
    {
        ulong value = 0;
        uint written;

        // SAFETY: the platform writes at most the size it is given.
        return functions.WHvGetCapability(code, &value, sizeof(ulong), &written) < 0 ? 0 : value;
    }

    /// <summary>Which processor features partitions can have; older systems tell of the first bank only.</summary>
    public WHV_PROCESSOR_FEATURES_BANKS GetProcessorFeatures()
    {
        WHV_PROCESSOR_FEATURES_BANKS banks = default;
        banks.BanksCount = 2;
        uint written;

        // SAFETY: the platform writes at most the size it is given.
        if (functions.WHvGetCapability(WHV_CAPABILITY_CODE.WHvCapabilityCodeProcessorFeaturesBanks, &banks, (uint)sizeof(WHV_PROCESSOR_FEATURES_BANKS), &written) >= 0) return banks;
        banks = default;
        banks.BanksCount = 1;
        banks.Bank0.AsUINT64 = GetCapability(WHV_CAPABILITY_CODE.WHvCapabilityCodeProcessorFeatures);
        return banks;
    }
}
