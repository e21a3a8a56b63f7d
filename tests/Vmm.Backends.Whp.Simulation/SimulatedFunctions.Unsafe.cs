using System.Runtime.InteropServices;
using Vmm.Backends.Whp.Interop;

namespace Vmm.Backends.Whp.Simulation;

/// <summary>The function table of the simulated platform. Handles are those of the garbage collector.</summary>
internal static unsafe class SimulatedFunctions
{
    private const int E_INVALIDARG = unchecked((int)0x80070057);

    public static WhpFunctions Create() => new()
    {
        WHvGetCapability = &GetCapability,
        WHvCreatePartition = &CreatePartition,
        WHvSetupPartition = &SetupPartition,
        WHvDeletePartition = &DeletePartition,
        WHvSetPartitionProperty = &SetProperty,
        WHvGetPartitionProperty = &GetProperty,
        WHvMapGpaRange = &Map,
        WHvUnmapGpaRange = &Unmap,
        WHvTranslateGva = &Translate,
        WHvCreateVirtualProcessor = &CreateProcessor,
        WHvDeleteVirtualProcessor = &DeleteProcessor,
        WHvRunVirtualProcessor = &Run,
        WHvCancelRunVirtualProcessor = &Cancel,
        WHvGetVirtualProcessorRegisters = &GetRegisters,
        WHvSetVirtualProcessorRegisters = &SetRegisters,
        WHvGetVirtualProcessorInterruptControllerState2 = &GetApic,
        WHvSetVirtualProcessorInterruptControllerState2 = &SetApic,
        WHvRequestInterrupt = &RequestInterrupt,
        WHvGetVirtualProcessorXsaveState = &GetXsave,
        WHvSetVirtualProcessorXsaveState = &SetXsave,
        WHvQueryGpaRangeDirtyBitmap = &QueryDirty,
        WHvSuspendPartitionTime = &SuspendTime,
        WHvResumePartitionTime = &ResumeTime,
        WHvEmulatorCreateEmulator = &CreateEmulator,
        WHvEmulatorDestroyEmulator = &DestroyEmulator,
        WHvEmulatorTryIoEmulation = &EmulateIo,
        WHvEmulatorTryMmioEmulation = &EmulateMmio,
    };

    private static SimulatedProcessor Processor(nint partition, uint index) => SimulatedPartition.From(partition).Processor(index);

    private static int Guard(Action action)
    {
        try
        {
            action();
            return 0;
        }
        catch (Exception e)
        {
            return Failed(e);
        }
    }

    // An exception must not cross a native frame; the test sees the failed call and this.
    private static int Failed(Exception e)
    {
        Console.Error.WriteLine($"simulated platform: {e}");
        return WhpResult.E_FAIL;
    }

    [UnmanagedCallersOnly]
    private static int GetCapability(WHV_CAPABILITY_CODE code, void* buffer, uint size, uint* written)
    {
        if (code == WHV_CAPABILITY_CODE.WHvCapabilityCodeProcessorFeaturesBanks)
        {
            *(WHV_PROCESSOR_FEATURES_BANKS*)buffer = new() { BanksCount = 2, Bank0 = new() { AsUINT64 = ulong.MaxValue }, Bank1 = new() { AsUINT64 = ulong.MaxValue } };
            *written = (uint)sizeof(WHV_PROCESSOR_FEATURES_BANKS);
            return 0;
        }

        ulong? value = code switch
        {
            WHV_CAPABILITY_CODE.WHvCapabilityCodeHypervisorPresent => 1,
            WHV_CAPABILITY_CODE.WHvCapabilityCodeFeatures => WHV_CAPABILITY_FEATURES.PartialUnmap | WHV_CAPABILITY_FEATURES.LocalApicEmulation | WHV_CAPABILITY_FEATURES.Xsave | WHV_CAPABILITY_FEATURES.DirtyPageTracking,
            WHV_CAPABILITY_CODE.WHvCapabilityCodeExtendedVmExits => WHV_EXTENDED_VM_EXITS.X64CpuidExit | WHV_EXTENDED_VM_EXITS.X64MsrExit,
            WHV_CAPABILITY_CODE.WHvCapabilityCodeProcessorFeatures or WHV_CAPABILITY_CODE.WHvCapabilityCodeProcessorXsaveFeatures => ulong.MaxValue,
            WHV_CAPABILITY_CODE.WHvCapabilityCodeProcessorClockFrequency or WHV_CAPABILITY_CODE.WHvCapabilityCodeInterruptClockFrequency => Core.Time.VmClock.TscFrequency,
            _ => null,
        };
        if (value is not { } known) return WhpResult.WHV_E_UNKNOWN_CAPABILITY;
        *written = Math.Min(size, sizeof(ulong));
        new ReadOnlySpan<byte>(&known, (int)*written).CopyTo(new Span<byte>(buffer, (int)size));
        return 0;
    }

    [UnmanagedCallersOnly]
    private static int CreatePartition(nint* partition)
    {
        *partition = new SimulatedPartition().Handle;
        return 0;
    }

    [UnmanagedCallersOnly]
    private static int SetupPartition(nint partition) => Guard(() => SimulatedPartition.From(partition).Setup());

    [UnmanagedCallersOnly]
    private static int DeletePartition(nint partition) => Guard(() => SimulatedPartition.From(partition).Dispose());

    [UnmanagedCallersOnly]
    private static int SetProperty(nint partition, WHV_PARTITION_PROPERTY_CODE code, void* buffer, uint size)
    {
        if (code == WHV_PARTITION_PROPERTY_CODE.WHvPartitionPropertyCodeProcessorCount) SimulatedPartition.From(partition).ProcessorCount = *(uint*)buffer;
        return 0;
    }

    [UnmanagedCallersOnly]
    private static int GetProperty(nint partition, WHV_PARTITION_PROPERTY_CODE code, void* buffer, uint size, uint* written) => WhpResult.WHV_E_UNKNOWN_PROPERTY;

    [UnmanagedCallersOnly]
    private static int Map(nint partition, void* host, ulong gpa, ulong size, WHV_MAP_GPA_RANGE_FLAGS flags) => Guard(() => SimulatedPartition.From(partition).Map((nint)host, gpa, size, flags));

    [UnmanagedCallersOnly]
    private static int Unmap(nint partition, ulong gpa, ulong size)
    {
        var found = false;
        var result = Guard(() => found = SimulatedPartition.From(partition).Unmap(gpa));
        return result < 0 || found ? result : WhpResult.WHV_E_GPA_RANGE_NOT_FOUND;
    }

    [UnmanagedCallersOnly]
    private static int Translate(nint partition, uint index, ulong gva, WHV_TRANSLATE_GVA_FLAGS flags, WHV_TRANSLATE_GVA_RESULT* result, ulong* gpa)
    {
        try
        {
            *result = new() { ResultCode = Processor(partition, index).Translate(gva, flags, out *gpa) };
            return 0;
        }
        catch (Exception e)
        {
            return Failed(e);
        }
    }

    [UnmanagedCallersOnly]
    private static int CreateProcessor(nint partition, uint index, uint flags) => index < SimulatedPartition.From(partition).ProcessorCount ? 0 : WhpResult.WHV_E_VP_DOES_NOT_EXIST;

    [UnmanagedCallersOnly]
    private static int DeleteProcessor(nint partition, uint index) => 0;

    [UnmanagedCallersOnly]
    private static int Run(nint partition, uint index, void* context, uint size)
    {
        // Without a closure: what happens at every exit allocates nothing, so that tests can see what the backend allocates.
        try
        {
            if (size != sizeof(WHV_RUN_VP_EXIT_CONTEXT)) return WhpResult.WHV_E_INSUFFICIENT_BUFFER;
            Processor(partition, index).Run((WHV_RUN_VP_EXIT_CONTEXT*)context);
            return 0;
        }
        catch (Exception e)
        {
            return Failed(e);
        }
    }

    [UnmanagedCallersOnly]
    private static int Cancel(nint partition, uint index, uint flags)
    {
        try
        {
            Processor(partition, index).Cancel();
            return 0;
        }
        catch (Exception e)
        {
            return Failed(e);
        }
    }

    [UnmanagedCallersOnly]
    private static int GetRegisters(nint partition, uint index, WHV_REGISTER_NAME* names, uint count, WHV_REGISTER_VALUE* values)
    {
        try
        {
            return Processor(partition, index).Get(new(names, (int)count), new(values, (int)count));
        }
        catch (Exception e)
        {
            return Failed(e);
        }
    }

    [UnmanagedCallersOnly]
    private static int SetRegisters(nint partition, uint index, WHV_REGISTER_NAME* names, uint count, WHV_REGISTER_VALUE* values)
    {
        try
        {
            return Processor(partition, index).Set(new(names, (int)count), new(values, (int)count));
        }
        catch (Exception e)
        {
            return Failed(e);
        }
    }

    [UnmanagedCallersOnly]
    private static int GetApic(nint partition, uint index, void* state, uint size, uint* written)
    {
        try
        {
            new Span<byte>(state, (int)size).Clear();
            Processor(partition, index).Cpu.Apic.Save(new Span<byte>(state, 1024));
            *written = size;
            return 0;
        }
        catch (Exception e)
        {
            return Failed(e);
        }
    }

    [UnmanagedCallersOnly]
    private static int SetApic(nint partition, uint index, void* state, uint size) => Guard(() => Processor(partition, index).Cpu.Apic.Load(new ReadOnlySpan<byte>(state, 1024)));

    [UnmanagedCallersOnly]
    private static int RequestInterrupt(nint partition, WHV_INTERRUPT_CONTROL* interrupt, uint size)
    {
        var taken = false;
        var result = Guard(() => taken = SimulatedPartition.From(partition).RequestInterrupt(*interrupt));
        return result < 0 || taken ? result : E_INVALIDARG;
    }

    [UnmanagedCallersOnly]
    private static int GetXsave(nint partition, uint index, void* buffer, uint size, uint* written) => Guard(() => *written = (uint)Processor(partition, index).GetXsave(new Span<byte>(buffer, (int)size)));

    [UnmanagedCallersOnly]
    private static int SetXsave(nint partition, uint index, void* buffer, uint size) => Guard(() => Processor(partition, index).SetXsave(new ReadOnlySpan<byte>(buffer, (int)size)));

    [UnmanagedCallersOnly]
    private static int QueryDirty(nint partition, ulong gpa, ulong size, ulong* bitmap, uint bytes)
    {
        var found = false;
        var result = Guard(() => found = SimulatedPartition.From(partition).QueryDirty(gpa, size, new Span<ulong>(bitmap, (int)bytes / 8)));
        return result < 0 || found ? result : WhpResult.WHV_E_GPA_RANGE_NOT_FOUND;
    }

    [UnmanagedCallersOnly]
    private static int SuspendTime(nint partition) => Guard(() => SimulatedPartition.From(partition).SuspendTime());

    [UnmanagedCallersOnly]
    private static int ResumeTime(nint partition) => Guard(() => SimulatedPartition.From(partition).ResumeTime());

    [UnmanagedCallersOnly]
    private static int CreateEmulator(WHV_EMULATOR_CALLBACKS* callbacks, nint* emulator)
    {
        if (callbacks->Size != sizeof(WHV_EMULATOR_CALLBACKS)) return E_INVALIDARG;
        *emulator = GCHandle.ToIntPtr(GCHandle.Alloc(new SimulatedEmulator(*callbacks)));
        return 0;
    }

    [UnmanagedCallersOnly]
    private static int DestroyEmulator(nint emulator)
    {
        GCHandle.FromIntPtr(emulator).Free();
        return 0;
    }

    [UnmanagedCallersOnly]
    private static int EmulateIo(nint emulator, nint context, WHV_VP_EXIT_CONTEXT* vp, WHV_X64_IO_PORT_ACCESS_CONTEXT* access, WHV_EMULATOR_STATUS* status) =>
        Emulate(emulator, context, vp, ((ReadOnlySpan<byte>)access->InstructionBytes)[..access->InstructionByteCount], status);

    [UnmanagedCallersOnly]
    private static int EmulateMmio(nint emulator, nint context, WHV_VP_EXIT_CONTEXT* vp, WHV_MEMORY_ACCESS_CONTEXT* access, WHV_EMULATOR_STATUS* status) =>
        Emulate(emulator, context, vp, ((ReadOnlySpan<byte>)access->InstructionBytes)[..access->InstructionByteCount], status);

    private static int Emulate(nint emulator, nint context, WHV_VP_EXIT_CONTEXT* vp, ReadOnlySpan<byte> bytes, WHV_EMULATOR_STATUS* status)
    {
        try
        {
            status->AsUINT32 = ((SimulatedEmulator)GCHandle.FromIntPtr(emulator).Target!).Execute(context, in *vp, bytes);
            return 0;
        }
        catch (Exception e)
        {
            return Failed(e);
        }
    }
}
