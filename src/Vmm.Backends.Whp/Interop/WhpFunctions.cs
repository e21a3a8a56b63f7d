// winhvplatform.h and winhvemulation.h: the functions, under their own names.
using System.Runtime.InteropServices;

namespace Vmm.Backends.Whp.Interop;

#pragma warning disable IDE1006, SA1300 // native names

/// <summary>
/// The functions of WinHvPlatform.dll and WinHvEmulation.dll that the backend calls. On Windows they come out of the two libraries;
/// a test can put others in their place. Those that older systems lack may be null: <see cref="IsComplete"/> says which must be there.
/// </summary>
internal sealed unsafe class WhpFunctions
{
    public const string PlatformLibrary = "WinHvPlatform.dll", EmulationLibrary = "WinHvEmulation.dll";

    public delegate* unmanaged<WHV_CAPABILITY_CODE, void*, uint, uint*, int> WHvGetCapability;
    public delegate* unmanaged<nint*, int> WHvCreatePartition;
    public delegate* unmanaged<nint, int> WHvSetupPartition;
    public delegate* unmanaged<nint, int> WHvDeletePartition;
    public delegate* unmanaged<nint, WHV_PARTITION_PROPERTY_CODE, void*, uint, int> WHvSetPartitionProperty;
    public delegate* unmanaged<nint, WHV_PARTITION_PROPERTY_CODE, void*, uint, uint*, int> WHvGetPartitionProperty;
    public delegate* unmanaged<nint, void*, ulong, ulong, WHV_MAP_GPA_RANGE_FLAGS, int> WHvMapGpaRange;
    public delegate* unmanaged<nint, ulong, ulong, int> WHvUnmapGpaRange;
    public delegate* unmanaged<nint, uint, ulong, WHV_TRANSLATE_GVA_FLAGS, WHV_TRANSLATE_GVA_RESULT*, ulong*, int> WHvTranslateGva;
    public delegate* unmanaged<nint, uint, uint, int> WHvCreateVirtualProcessor;
    public delegate* unmanaged<nint, uint, int> WHvDeleteVirtualProcessor;
    public delegate* unmanaged<nint, uint, void*, uint, int> WHvRunVirtualProcessor;
    public delegate* unmanaged<nint, uint, uint, int> WHvCancelRunVirtualProcessor;
    public delegate* unmanaged<nint, uint, WHV_REGISTER_NAME*, uint, WHV_REGISTER_VALUE*, int> WHvGetVirtualProcessorRegisters;
    public delegate* unmanaged<nint, uint, WHV_REGISTER_NAME*, uint, WHV_REGISTER_VALUE*, int> WHvSetVirtualProcessorRegisters;
    public delegate* unmanaged<nint, uint, void*, uint, uint*, int> WHvGetVirtualProcessorInterruptControllerState2;
    public delegate* unmanaged<nint, uint, void*, uint, int> WHvSetVirtualProcessorInterruptControllerState2;
    public delegate* unmanaged<nint, WHV_INTERRUPT_CONTROL*, uint, int> WHvRequestInterrupt;
    public delegate* unmanaged<nint, uint, void*, uint, uint*, int> WHvGetVirtualProcessorXsaveState;
    public delegate* unmanaged<nint, uint, void*, uint, int> WHvSetVirtualProcessorXsaveState;
    public delegate* unmanaged<nint, ulong, ulong, ulong*, uint, int> WHvQueryGpaRangeDirtyBitmap;

    // Windows 10 2004 and later.
    public delegate* unmanaged<nint, int> WHvSuspendPartitionTime;
    public delegate* unmanaged<nint, int> WHvResumePartitionTime;
    public delegate* unmanaged<nint, WHV_DOORBELL_MATCH_DATA*, nint, int> WHvRegisterPartitionDoorbellEvent;
    public delegate* unmanaged<nint, WHV_DOORBELL_MATCH_DATA*, int> WHvUnregisterPartitionDoorbellEvent;

    // Windows 11 and Server 2022.
    public delegate* unmanaged<nint, nint, void*, ulong, ulong, WHV_MAP_GPA_RANGE_FLAGS, int> WHvMapGpaRange2;

    public delegate* unmanaged<WHV_EMULATOR_CALLBACKS*, nint*, int> WHvEmulatorCreateEmulator;
    public delegate* unmanaged<nint, int> WHvEmulatorDestroyEmulator;
    public delegate* unmanaged<nint, nint, WHV_VP_EXIT_CONTEXT*, WHV_X64_IO_PORT_ACCESS_CONTEXT*, WHV_EMULATOR_STATUS*, int> WHvEmulatorTryIoEmulation;
    public delegate* unmanaged<nint, nint, WHV_VP_EXIT_CONTEXT*, WHV_MEMORY_ACCESS_CONTEXT*, WHV_EMULATOR_STATUS*, int> WHvEmulatorTryMmioEmulation;

    /// <summary>Loads both libraries.</summary>
    /// <returns>The functions, or null where a library is missing.</returns>
    public static WhpFunctions? Load()
    {
        // The libraries stay loaded as long as the process: the partitions of all machines use them.
        if (!NativeLibrary.TryLoad(PlatformLibrary, typeof(WhpFunctions).Assembly, DllImportSearchPath.System32, out var platform)) return null;
        if (!NativeLibrary.TryLoad(EmulationLibrary, typeof(WhpFunctions).Assembly, DllImportSearchPath.System32, out var emulation)) return null;
        return new WhpFunctions
        {
            WHvGetCapability = (delegate* unmanaged<WHV_CAPABILITY_CODE, void*, uint, uint*, int>)Find(platform, nameof(WHvGetCapability)),
            WHvCreatePartition = (delegate* unmanaged<nint*, int>)Find(platform, nameof(WHvCreatePartition)),
            WHvSetupPartition = (delegate* unmanaged<nint, int>)Find(platform, nameof(WHvSetupPartition)),
            WHvDeletePartition = (delegate* unmanaged<nint, int>)Find(platform, nameof(WHvDeletePartition)),
            WHvSetPartitionProperty = (delegate* unmanaged<nint, WHV_PARTITION_PROPERTY_CODE, void*, uint, int>)Find(platform, nameof(WHvSetPartitionProperty)),
            WHvGetPartitionProperty = (delegate* unmanaged<nint, WHV_PARTITION_PROPERTY_CODE, void*, uint, uint*, int>)Find(platform, nameof(WHvGetPartitionProperty)),
            WHvMapGpaRange = (delegate* unmanaged<nint, void*, ulong, ulong, WHV_MAP_GPA_RANGE_FLAGS, int>)Find(platform, nameof(WHvMapGpaRange)),
            WHvUnmapGpaRange = (delegate* unmanaged<nint, ulong, ulong, int>)Find(platform, nameof(WHvUnmapGpaRange)),
            WHvTranslateGva = (delegate* unmanaged<nint, uint, ulong, WHV_TRANSLATE_GVA_FLAGS, WHV_TRANSLATE_GVA_RESULT*, ulong*, int>)Find(platform, nameof(WHvTranslateGva)),
            WHvCreateVirtualProcessor = (delegate* unmanaged<nint, uint, uint, int>)Find(platform, nameof(WHvCreateVirtualProcessor)),
            WHvDeleteVirtualProcessor = (delegate* unmanaged<nint, uint, int>)Find(platform, nameof(WHvDeleteVirtualProcessor)),
            WHvRunVirtualProcessor = (delegate* unmanaged<nint, uint, void*, uint, int>)Find(platform, nameof(WHvRunVirtualProcessor)),
            WHvCancelRunVirtualProcessor = (delegate* unmanaged<nint, uint, uint, int>)Find(platform, nameof(WHvCancelRunVirtualProcessor)),
            WHvGetVirtualProcessorRegisters = (delegate* unmanaged<nint, uint, WHV_REGISTER_NAME*, uint, WHV_REGISTER_VALUE*, int>)Find(platform, nameof(WHvGetVirtualProcessorRegisters)),
            WHvSetVirtualProcessorRegisters = (delegate* unmanaged<nint, uint, WHV_REGISTER_NAME*, uint, WHV_REGISTER_VALUE*, int>)Find(platform, nameof(WHvSetVirtualProcessorRegisters)),
            WHvGetVirtualProcessorInterruptControllerState2 = (delegate* unmanaged<nint, uint, void*, uint, uint*, int>)Find(platform, nameof(WHvGetVirtualProcessorInterruptControllerState2)),
            WHvSetVirtualProcessorInterruptControllerState2 = (delegate* unmanaged<nint, uint, void*, uint, int>)Find(platform, nameof(WHvSetVirtualProcessorInterruptControllerState2)),
            WHvRequestInterrupt = (delegate* unmanaged<nint, WHV_INTERRUPT_CONTROL*, uint, int>)Find(platform, nameof(WHvRequestInterrupt)),
            WHvGetVirtualProcessorXsaveState = (delegate* unmanaged<nint, uint, void*, uint, uint*, int>)Find(platform, nameof(WHvGetVirtualProcessorXsaveState)),
            WHvSetVirtualProcessorXsaveState = (delegate* unmanaged<nint, uint, void*, uint, int>)Find(platform, nameof(WHvSetVirtualProcessorXsaveState)),
            WHvQueryGpaRangeDirtyBitmap = (delegate* unmanaged<nint, ulong, ulong, ulong*, uint, int>)Find(platform, nameof(WHvQueryGpaRangeDirtyBitmap)),
            WHvSuspendPartitionTime = (delegate* unmanaged<nint, int>)Find(platform, nameof(WHvSuspendPartitionTime)),
            WHvResumePartitionTime = (delegate* unmanaged<nint, int>)Find(platform, nameof(WHvResumePartitionTime)),
            WHvRegisterPartitionDoorbellEvent = (delegate* unmanaged<nint, WHV_DOORBELL_MATCH_DATA*, nint, int>)Find(platform, nameof(WHvRegisterPartitionDoorbellEvent)),
            WHvUnregisterPartitionDoorbellEvent = (delegate* unmanaged<nint, WHV_DOORBELL_MATCH_DATA*, int>)Find(platform, nameof(WHvUnregisterPartitionDoorbellEvent)),
            WHvMapGpaRange2 = (delegate* unmanaged<nint, nint, void*, ulong, ulong, WHV_MAP_GPA_RANGE_FLAGS, int>)Find(platform, nameof(WHvMapGpaRange2)),
            WHvEmulatorCreateEmulator = (delegate* unmanaged<WHV_EMULATOR_CALLBACKS*, nint*, int>)Find(emulation, nameof(WHvEmulatorCreateEmulator)),
            WHvEmulatorDestroyEmulator = (delegate* unmanaged<nint, int>)Find(emulation, nameof(WHvEmulatorDestroyEmulator)),
            WHvEmulatorTryIoEmulation = (delegate* unmanaged<nint, nint, WHV_VP_EXIT_CONTEXT*, WHV_X64_IO_PORT_ACCESS_CONTEXT*, WHV_EMULATOR_STATUS*, int>)Find(emulation, nameof(WHvEmulatorTryIoEmulation)),
            WHvEmulatorTryMmioEmulation = (delegate* unmanaged<nint, nint, WHV_VP_EXIT_CONTEXT*, WHV_MEMORY_ACCESS_CONTEXT*, WHV_EMULATOR_STATUS*, int>)Find(emulation, nameof(WHvEmulatorTryMmioEmulation)),
        };
    }

    /// <summary>Whether everything is there that the backend cannot do without: Windows 10 1903 and later.</summary>
    public bool IsComplete =>
        WHvGetCapability != null && WHvCreatePartition != null && WHvSetupPartition != null && WHvDeletePartition != null && WHvSetPartitionProperty != null
        && WHvGetPartitionProperty != null && WHvMapGpaRange != null && WHvUnmapGpaRange != null && WHvTranslateGva != null && WHvCreateVirtualProcessor != null
        && WHvDeleteVirtualProcessor != null && WHvRunVirtualProcessor != null && WHvCancelRunVirtualProcessor != null && WHvGetVirtualProcessorRegisters != null
        && WHvSetVirtualProcessorRegisters != null && WHvGetVirtualProcessorInterruptControllerState2 != null && WHvSetVirtualProcessorInterruptControllerState2 != null
        && WHvRequestInterrupt != null && WHvGetVirtualProcessorXsaveState != null && WHvSetVirtualProcessorXsaveState != null && WHvQueryGpaRangeDirtyBitmap != null
        && WHvEmulatorCreateEmulator != null && WHvEmulatorDestroyEmulator != null && WHvEmulatorTryIoEmulation != null && WHvEmulatorTryMmioEmulation != null;

    // SAFETY: the function pointer types above are those of the headers, which a test compares; a missing export is null and never called.
    private static void* Find(nint library, string name) => NativeLibrary.TryGetExport(library, name, out var address) ? (void*)address : null;
}
