// winhvemulation.h: the instruction emulator.
using System.Runtime.InteropServices;

namespace Vmm.Backends.Whp.Interop;

#pragma warning disable IDE1006, SA1300, CA1815 // native names

internal struct WHV_EMULATOR_STATUS
{
    public const uint EmulationSuccessful = 1 << 0, InternalEmulationFailure = 1 << 1, IoPortCallbackFailed = 1 << 2, MemoryCallbackFailed = 1 << 3,
        TranslateGvaPageCallbackFailed = 1 << 4, TranslateGvaPageCallbackGpaIsNotAligned = 1 << 5, GetVirtualProcessorRegistersCallbackFailed = 1 << 6,
        SetVirtualProcessorRegistersCallbackFailed = 1 << 7, InterruptCausedIntercept = 1 << 8, GuestCannotBeFaulted = 1 << 9;

    public uint AsUINT32;
}

[StructLayout(LayoutKind.Explicit, Size = 24)]
internal struct WHV_EMULATOR_MEMORY_ACCESS_INFO
{
    [FieldOffset(0)] public ulong GpaAddress;
    [FieldOffset(8)] public byte Direction;
    [FieldOffset(9)] public byte AccessSize;

    /// <summary>The data's eight bytes, which are not aligned.</summary>
    [FieldOffset(10)] public EmulatorData8 Data;
}

/// <summary>The bytes of an emulated memory access.</summary>
[System.Runtime.CompilerServices.InlineArray(8)]
internal struct EmulatorData8
{
    private byte _first;
}

[StructLayout(LayoutKind.Explicit, Size = 12)]
internal struct WHV_EMULATOR_IO_ACCESS_INFO
{
    [FieldOffset(0)] public byte Direction;
    [FieldOffset(2)] public ushort Port;
    [FieldOffset(4)] public ushort AccessSize;
    [FieldOffset(8)] public uint Data;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct WHV_EMULATOR_CALLBACKS
{
    public uint Size;
    public uint Reserved;
    public delegate* unmanaged<nint, WHV_EMULATOR_IO_ACCESS_INFO*, int> WHvEmulatorIoPortCallback;
    public delegate* unmanaged<nint, WHV_EMULATOR_MEMORY_ACCESS_INFO*, int> WHvEmulatorMemoryCallback;
    public delegate* unmanaged<nint, WHV_REGISTER_NAME*, uint, WHV_REGISTER_VALUE*, int> WHvEmulatorGetVirtualProcessorRegisters;
    public delegate* unmanaged<nint, WHV_REGISTER_NAME*, uint, WHV_REGISTER_VALUE*, int> WHvEmulatorSetVirtualProcessorRegisters;
    public delegate* unmanaged<nint, ulong, WHV_TRANSLATE_GVA_FLAGS, WHV_TRANSLATE_GVA_RESULT_CODE*, ulong*, int> WHvEmulatorTranslateGvaPage;
}
