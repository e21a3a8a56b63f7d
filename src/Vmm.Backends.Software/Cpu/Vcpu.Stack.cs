using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Cpu;

/// <summary>The stack, and checks of code addresses.</summary>
internal sealed partial class Vcpu
{
    /// <summary>Pushes with the current privilege; RSP moves only when the store succeeds.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryPush<T>(T value) where T : unmanaged
    {
        ref var rsp = ref Gpr(4);
        if (S.StackMask == ulong.MaxValue)
        {
            var top = rsp - (uint)Unsafe.SizeOf<T>();
            if (!TryWrite(top, value)) return StackFault();
            rsp = top;
            return true;
        }

        return TryPushLegacy(value);
    }

    /// <summary>Pops with the current privilege; RSP moves only when the load succeeds.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryPop<T>(out T value) where T : unmanaged
    {
        if (!TryPeek(0, out value)) return false;
        AdjustStack((uint)Unsafe.SizeOf<T>());
        return true;
    }

    /// <summary>Loads from the stack without moving RSP.</summary>
    /// <param name="offset">Bytes above RSP.</param>
    /// <param name="value">What is there.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryPeek<T>(ulong offset, out T value) where T : unmanaged
    {
        if (S.StackMask == ulong.MaxValue) return TryRead(Gpr(4) + offset, out value) || StackFault();
        value = default;
        return TrySegment(2, (Gpr(4) + offset) & S.StackMask, Unsafe.SizeOf<T>(), Access.Read, out var linear) && (TryRead(linear, out value) || StackFault());
    }

    /// <summary>Stores to the stack without moving RSP.</summary>
    /// <param name="offset">Bytes above RSP (negative ones wrap as the stack does).</param>
    /// <param name="value">What to store.</param>
    public bool TryPoke<T>(ulong offset, T value) where T : unmanaged
    {
        if (S.StackMask == ulong.MaxValue) return TryWrite(Gpr(4) + offset, value) || StackFault();
        return TrySegment(2, (Gpr(4) + offset) & S.StackMask, Unsafe.SizeOf<T>(), Access.Write, out var linear) && (TryWrite(linear, value) || StackFault());
    }

    /// <summary>Moves RSP (or SP or ESP, as the stack segment says).</summary>
    /// <param name="bytes">Added.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void AdjustStack(ulong bytes)
    {
        ref var rsp = ref Gpr(4);
        var mask = S.StackMask;
        rsp = mask == 0xFFFF ? (rsp & ~0xFFFFUL) | (ushort)(rsp + bytes) : (rsp + bytes) & mask;
    }

    /// <summary>Whether a linear address is canonical for the paging mode.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool IsCanonical(ulong linear)
    {
        var unused = (S.Cr4 & ControlBits.Cr4La57) != 0 ? 7 : 16;
        return (ulong)((long)(linear << unused) >> unused) == linear;
    }

    /// <summary>Whether a near branch may go to an offset: canonical in 64-bit mode, within the CS limit elsewhere.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool IsCodeAddress(ulong rip) => S.CodeLimit == ulong.MaxValue ? IsCanonical(rip) : rip <= S.CodeLimit;

    /// <summary>RIP after straight-line execution: 16- and 32-bit code wraps.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ulong Wrap(ulong rip) => (S.Mode & CpuMode.CodeMask) switch { CpuMode.Code64 => rip, CpuMode.Code32 => (uint)rip, _ => WrapNarrow(rip) };

    // In 16-bit code IP goes past 0xFFFF into a limit violation in protected mode, and wraps in real mode where the limit is 64 KiB.
    private ulong WrapNarrow(ulong rip) => S.CodeLimit <= 0xFFFF && rip == 0x10000 ? 0 : rip;

    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool TryPushLegacy<T>(T value) where T : unmanaged
    {
        if (!TryPoke((ulong)-Unsafe.SizeOf<T>(), value)) return false;
        AdjustStack((ulong)-Unsafe.SizeOf<T>());
        return true;
    }

    // A non-canonical stack address is #SS, not #GP.
    private bool StackFault()
    {
        if (S.FaultVector == Vector.GP) S.FaultVector = Vector.SS;
        return false;
    }

    /// <summary>After a failed access to a memory operand that was not made by <c>TryLoad</c> or its like; always false.</summary>
    public bool StackFault(ref Decode.Op op)
    {
        if (op.Segment == 2 && S.FaultVector == Vector.GP) S.FaultVector = Vector.SS;
        return false;
    }
}
