// winhvplatformdefs.h: capabilities, partition properties and interrupt requests.
using System.Runtime.InteropServices;

namespace Vmm.Backends.Whp.Interop;

#pragma warning disable IDE1006, SA1300, CA1815 // native names

internal struct WHV_CAPABILITY_FEATURES
{
    public const ulong PartialUnmap = 1 << 0, LocalApicEmulation = 1 << 1, Xsave = 1 << 2, DirtyPageTracking = 1 << 3, SpeculationControl = 1 << 4,
        ApicRemoteRead = 1 << 5, IdleSuspend = 1 << 6;

    public ulong AsUINT64;
}

internal struct WHV_EXTENDED_VM_EXITS
{
    public const ulong X64CpuidExit = 1 << 0, X64MsrExit = 1 << 1, ExceptionExit = 1 << 2, X64RdtscExit = 1 << 3, X64ApicSmiExitTrap = 1 << 4,
        HypercallExit = 1 << 5, X64ApicInitSipiExitTrap = 1 << 6, X64ApicWriteLint0ExitTrap = 1 << 7, X64ApicWriteLint1ExitTrap = 1 << 8;

    public ulong AsUINT64;
}

internal struct WHV_X64_MSR_EXIT_BITMAP
{
    public const ulong UnhandledMsrs = 1 << 0, TscMsrWrite = 1 << 1, TscMsrRead = 1 << 2, ApicBaseMsrWrite = 1 << 3, MiscEnableMsrRead = 1 << 4, McUpdatePatchLevelMsrRead = 1 << 5;
    public ulong AsUINT64;
}

internal struct WHV_PROCESSOR_FEATURES
{
    public const ulong Sse3Support = 1 << 0, LahfSahfSupport = 1 << 1, Ssse3Support = 1 << 2, Sse4_1Support = 1 << 3, Sse4_2Support = 1 << 4, PopCntSupport = 1 << 7,
        Cmpxchg16bSupport = 1 << 8, LzcntSupport = 1 << 10, Page1GbSupport = 1 << 15, AesSupport = 1 << 16, PclmulqdqSupport = 1 << 17, PcidSupport = 1 << 18,
        F16CSupport = 1 << 20, RdRandSupport = 1 << 21, RdWrFsGsSupport = 1 << 22, SmepSupport = 1 << 23, EnhancedFastStringSupport = 1 << 24, Bmi1Support = 1 << 25,
        Bmi2Support = 1 << 26, MovbeSupport = 1 << 29, RdSeedSupport = 1UL << 32, AdxSupport = 1UL << 33, SmapSupport = 1UL << 35, RdtscpSupport = 1UL << 38,
        ClflushoptSupport = 1UL << 39, ClwbSupport = 1UL << 40, ShaSupport = 1UL << 41, InvpcidSupport = 1UL << 43, IbrsSupport = 1UL << 44,
        FastShortRepMovSupport = 1UL << 49, RdPidSupport = 1UL << 57, UmipSupport = 1UL << 58;

    public ulong AsUINT64;
}

internal struct WHV_PROCESSOR_FEATURES1
{
    public const ulong TscInvariantSupport = 1 << 1, TscDeadlineTmrSupport = 1 << 17, TscAdjustSupport = 1 << 18;
    public ulong AsUINT64;
}

[StructLayout(LayoutKind.Explicit, Size = 24)]
internal struct WHV_PROCESSOR_FEATURES_BANKS
{
    [FieldOffset(0)] public uint BanksCount;
    [FieldOffset(8)] public WHV_PROCESSOR_FEATURES Bank0;
    [FieldOffset(16)] public WHV_PROCESSOR_FEATURES1 Bank1;
}

internal struct WHV_PROCESSOR_XSAVE_FEATURES
{
    public const ulong XsaveSupport = 1 << 0, XsaveoptSupport = 1 << 1, AvxSupport = 1 << 2, Avx2Support = 1 << 3, FmaSupport = 1 << 4;
    public ulong AsUINT64;
}

[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct WHV_INTERRUPT_CONTROL
{
    /// <summary>Masks within the first eight bytes.</summary>
    public const ulong Type = 0xFF, DestinationMode = 0xF << 8, TriggerMode = 0xF << 12;

    [FieldOffset(0)] public ulong Control;
    [FieldOffset(8)] public uint Destination;
    [FieldOffset(12)] public uint Vector;
}

internal struct WHV_TRANSLATE_GVA_RESULT
{
    public WHV_TRANSLATE_GVA_RESULT_CODE ResultCode;
    public uint Reserved;
}

[StructLayout(LayoutKind.Explicit, Size = 24)]
internal struct WHV_DOORBELL_MATCH_DATA
{
    /// <summary>Masks within <see cref="Matching"/>.</summary>
    public const uint MatchOnValue = 1 << 0, MatchOnLength = 1 << 1;

    [FieldOffset(0)] public ulong GuestAddress;
    [FieldOffset(8)] public ulong Value;
    [FieldOffset(16)] public uint Length;
    [FieldOffset(20)] public uint Matching;
}
