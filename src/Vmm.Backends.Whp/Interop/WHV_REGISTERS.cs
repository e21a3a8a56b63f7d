// winhvplatformdefs.h: register values. A bit-field is an integer here, with one mask for each of the header's fields.
using System.Runtime.InteropServices;

namespace Vmm.Backends.Whp.Interop;

#pragma warning disable IDE1006, SA1300, CA1815 // native names

[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct WHV_UINT128
{
    [FieldOffset(0)] public ulong Low64;
    [FieldOffset(8)] public ulong High64;
}

[StructLayout(LayoutKind.Sequential)]
internal struct WHV_X64_SEGMENT_REGISTER
{
    public ulong Base;
    public uint Limit;
    public ushort Selector;
    public ushort Attributes;
}

[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct WHV_X64_TABLE_REGISTER
{
    [FieldOffset(6)] public ushort Limit;
    [FieldOffset(8)] public ulong Base;
}

internal struct WHV_X64_INTERRUPT_STATE_REGISTER
{
    public const ulong InterruptShadow = 1 << 0, NmiMasked = 1 << 1;
    public ulong AsUINT64;
}

internal struct WHV_X64_PENDING_INTERRUPTION_REGISTER
{
    public const ulong InterruptionPending = 1 << 0, InterruptionType = 7 << 1, DeliverErrorCode = 1 << 4, InstructionLength = 15 << 5,
        NestedEvent = 1 << 9, InterruptionVector = 0xFFFFul << 16;

    public ulong AsUINT64;
}

internal struct WHV_X64_DELIVERABILITY_NOTIFICATIONS_REGISTER
{
    public const ulong NmiNotification = 1 << 0, InterruptNotification = 1 << 1, InterruptPriority = 15 << 2;
    public ulong AsUINT64;
}

[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct WHV_X64_PENDING_EXCEPTION_EVENT
{
    public const ulong EventPending = 1 << 0, EventType = 7 << 1, DeliverErrorCode = 1 << 8, Vector = 0xFFFFul << 16;
    [FieldOffset(0)] public WHV_UINT128 AsUINT128;
    [FieldOffset(4)] public uint ErrorCode;
    [FieldOffset(8)] public ulong ExceptionParameter;
}

[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct WHV_X64_PENDING_EXT_INT_EVENT
{
    public const ulong EventPending = 1 << 0, EventType = 7 << 1, Vector = 0xFF << 8;
    [FieldOffset(0)] public WHV_UINT128 AsUINT128;
}

internal struct WHV_INTERNAL_ACTIVITY_REGISTER
{
    public const ulong StartupSuspend = 1 << 0, HaltSuspend = 1 << 1, IdleSuspend = 1 << 2;
    public ulong AsUINT64;
}

internal struct WHV_X64_PENDING_DEBUG_EXCEPTION
{
    public const ulong Breakpoint0 = 1 << 0, Breakpoint1 = 1 << 1, Breakpoint2 = 1 << 2, Breakpoint3 = 1 << 3, SingleStep = 1 << 4;
    public ulong AsUINT64;
}

/// <summary>The value of any register; which member counts follows from its name.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal struct WHV_REGISTER_VALUE
{
    [FieldOffset(0)] public WHV_UINT128 Reg128;
    [FieldOffset(0)] public ulong Reg64;
    [FieldOffset(0)] public uint Reg32;
    [FieldOffset(0)] public ushort Reg16;
    [FieldOffset(0)] public byte Reg8;
    [FieldOffset(0)] public WHV_X64_SEGMENT_REGISTER Segment;
    [FieldOffset(0)] public WHV_X64_TABLE_REGISTER Table;
    [FieldOffset(0)] public WHV_X64_INTERRUPT_STATE_REGISTER InterruptState;
    [FieldOffset(0)] public WHV_X64_PENDING_INTERRUPTION_REGISTER PendingInterruption;
    [FieldOffset(0)] public WHV_X64_DELIVERABILITY_NOTIFICATIONS_REGISTER DeliverabilityNotifications;
    [FieldOffset(0)] public WHV_X64_PENDING_EXCEPTION_EVENT ExceptionEvent;
    [FieldOffset(0)] public WHV_X64_PENDING_EXT_INT_EVENT ExtIntEvent;
    [FieldOffset(0)] public WHV_INTERNAL_ACTIVITY_REGISTER InternalActivity;
    [FieldOffset(0)] public WHV_X64_PENDING_DEBUG_EXCEPTION PendingDebugException;
}
