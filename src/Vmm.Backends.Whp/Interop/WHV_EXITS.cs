// winhvplatformdefs.h: what WHvRunVirtualProcessor returns.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Backends.Whp.Interop;

#pragma warning disable IDE1006, SA1300, CA1815 // native names

/// <summary>Up to 16 bytes of the instruction that caused an exit.</summary>
[InlineArray(16)]
internal struct InstructionBytes16
{
    private byte _first;
}

internal struct WHV_X64_VP_EXECUTION_STATE
{
    public const ushort Cpl = 3, Cr0Pe = 1 << 2, Cr0Am = 1 << 3, EferLma = 1 << 4, DebugActive = 1 << 5, InterruptionPending = 1 << 6, InterruptShadow = 1 << 12;
    public ushort AsUINT16;
}

[StructLayout(LayoutKind.Explicit, Size = 40)]
internal struct WHV_VP_EXIT_CONTEXT
{
    /// <summary>Masks within <see cref="InstructionLengthAndCr8"/>.</summary>
    public const byte InstructionLength = 0x0F, Cr8 = 0xF0;

    [FieldOffset(0)] public WHV_X64_VP_EXECUTION_STATE ExecutionState;
    [FieldOffset(2)] public byte InstructionLengthAndCr8;
    [FieldOffset(8)] public WHV_X64_SEGMENT_REGISTER Cs;
    [FieldOffset(24)] public ulong Rip;
    [FieldOffset(32)] public ulong Rflags;
}

internal struct WHV_MEMORY_ACCESS_INFO
{
    public const uint AccessType = 3, GpaUnmapped = 1 << 2, GvaValid = 1 << 3;
    public uint AsUINT32;
}

[StructLayout(LayoutKind.Explicit, Size = 40)]
internal struct WHV_MEMORY_ACCESS_CONTEXT
{
    [FieldOffset(0)] public byte InstructionByteCount;
    [FieldOffset(4)] public InstructionBytes16 InstructionBytes;
    [FieldOffset(20)] public WHV_MEMORY_ACCESS_INFO AccessInfo;
    [FieldOffset(24)] public ulong Gpa;
    [FieldOffset(32)] public ulong Gva;
}

internal struct WHV_X64_IO_PORT_ACCESS_INFO
{
    public const uint IsWrite = 1 << 0, AccessSize = 7 << 1, StringOp = 1 << 4, RepPrefix = 1 << 5;
    public uint AsUINT32;
}

[StructLayout(LayoutKind.Explicit, Size = 96)]
internal struct WHV_X64_IO_PORT_ACCESS_CONTEXT
{
    [FieldOffset(0)] public byte InstructionByteCount;
    [FieldOffset(4)] public InstructionBytes16 InstructionBytes;
    [FieldOffset(20)] public WHV_X64_IO_PORT_ACCESS_INFO AccessInfo;
    [FieldOffset(24)] public ushort PortNumber;
    [FieldOffset(32)] public ulong Rax;
    [FieldOffset(40)] public ulong Rcx;
    [FieldOffset(48)] public ulong Rsi;
    [FieldOffset(56)] public ulong Rdi;
    [FieldOffset(64)] public WHV_X64_SEGMENT_REGISTER Ds;
    [FieldOffset(80)] public WHV_X64_SEGMENT_REGISTER Es;
}

internal struct WHV_X64_MSR_ACCESS_INFO
{
    public const uint IsWrite = 1 << 0;
    public uint AsUINT32;
}

[StructLayout(LayoutKind.Sequential)]
internal struct WHV_X64_MSR_ACCESS_CONTEXT
{
    public WHV_X64_MSR_ACCESS_INFO AccessInfo;
    public uint MsrNumber;
    public ulong Rax;
    public ulong Rdx;
}

[StructLayout(LayoutKind.Sequential)]
internal struct WHV_X64_CPUID_ACCESS_CONTEXT
{
    public ulong Rax;
    public ulong Rcx;
    public ulong Rdx;
    public ulong Rbx;
    public ulong DefaultResultRax;
    public ulong DefaultResultRcx;
    public ulong DefaultResultRdx;
    public ulong DefaultResultRbx;
}

[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct WHV_X64_UNSUPPORTED_FEATURE_CONTEXT
{
    [FieldOffset(0)] public WHV_X64_UNSUPPORTED_FEATURE_CODE FeatureCode;
    [FieldOffset(8)] public ulong FeatureParameter;
}

internal struct WHV_X64_INTERRUPTION_DELIVERABLE_CONTEXT
{
    public WHV_X64_PENDING_INTERRUPTION_TYPE DeliverableType;
}

internal struct WHV_X64_APIC_EOI_CONTEXT
{
    public uint InterruptVector;
}

[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct WHV_X64_APIC_WRITE_CONTEXT
{
    [FieldOffset(0)] public WHV_X64_APIC_WRITE_TYPE Type;
    [FieldOffset(8)] public ulong WriteValue;
}

[StructLayout(LayoutKind.Explicit, Size = 224)]
internal struct WHV_RUN_VP_EXIT_CONTEXT
{
    [FieldOffset(0)] public WHV_RUN_VP_EXIT_REASON ExitReason;
    [FieldOffset(8)] public WHV_VP_EXIT_CONTEXT VpContext;
    [FieldOffset(48)] public WHV_MEMORY_ACCESS_CONTEXT MemoryAccess;
    [FieldOffset(48)] public WHV_X64_IO_PORT_ACCESS_CONTEXT IoPortAccess;
    [FieldOffset(48)] public WHV_X64_MSR_ACCESS_CONTEXT MsrAccess;
    [FieldOffset(48)] public WHV_X64_CPUID_ACCESS_CONTEXT CpuidAccess;
    [FieldOffset(48)] public WHV_X64_INTERRUPTION_DELIVERABLE_CONTEXT InterruptWindow;
    [FieldOffset(48)] public WHV_X64_UNSUPPORTED_FEATURE_CONTEXT UnsupportedFeature;
    [FieldOffset(48)] public WHV_X64_APIC_EOI_CONTEXT ApicEoi;
    [FieldOffset(48)] public WHV_X64_APIC_WRITE_CONTEXT ApicWrite;
}
