using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Cpu;

/// <summary>
/// Guest memory for instruction handlers. Each <c>Try...</c> either does the whole access, or does nothing, records a fault in
/// the state and returns false; the handler then returns <see cref="Fault(ref Op)"/>. x86 ordering is kept on any host: a
/// load is followed by a read barrier and a store preceded by a write barrier, which cost nothing on x86.
/// </summary>
internal sealed unsafe partial class Vcpu
{
    private TlbEntry* _reads;
    private TlbEntry* _writes;

    /// <summary>Loads the memory operand.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryLoad<T>(ref Op op, out T value) where T : unmanaged
    {
        if (op.Address == AddressKind.Flat64)
        {
            var linear = Offset(ref op);
            ref var entry = ref _reads[Tlb.Slot(linear)];
            if (entry.Covers(linear, (uint)(sizeof(T) - 1)))
            {
                // SAFETY: a TLB entry covers the whole page, and the access does not leave it.
                value = Unsafe.ReadUnaligned<T>((void*)(linear + (ulong)entry.Addend));
                Volatile.ReadBarrier();
                return true;
            }
        }

        return TryLoadSlow(ref op, out value);
    }

    /// <summary>Stores to the memory operand.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryStore<T>(ref Op op, T value) where T : unmanaged
    {
        if (op.Address == AddressKind.Flat64)
        {
            var linear = Offset(ref op);
            ref var entry = ref _writes[Tlb.Slot(linear)];
            if (entry.Covers(linear, (uint)(sizeof(T) - 1)))
            {
                Volatile.WriteBarrier();
                // SAFETY: a TLB entry covers the whole page, and the access does not leave it.
                Unsafe.WriteUnaligned((void*)(linear + (ulong)entry.Addend), value);
                return true;
            }
        }

        return TryStoreSlow(ref op, value);
    }

    /// <summary>
    /// Where the TLB keeps a linear address for reading. If the entry covers the access, the handler does it with
    /// <see cref="At"/>; if not, its general form does. For handlers of <see cref="AddressKind.Flat64"/> operands, and the stack.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref TlbEntry ReadEntry(ulong linear) => ref _reads[Tlb.Slot(linear)];

    /// <summary>As <see cref="ReadEntry"/>, for writing, or for reading and writing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref TlbEntry WriteEntry(ulong linear) => ref _writes[Tlb.Slot(linear)];

    /// <summary>Whether an entry maps all bytes of an access.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Covers<T>(ref TlbEntry entry, ulong linear) where T : unmanaged => entry.Covers(linear, (uint)(sizeof(T) - 1));

    /// <summary>Loads through an entry that covers the access.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T At<T>(ref TlbEntry entry, ulong linear) where T : unmanaged
    {
        // SAFETY: a TLB entry covers the whole page, and the access does not leave it.
        var value = Unsafe.ReadUnaligned<T>((void*)(linear + (ulong)entry.Addend));
        Volatile.ReadBarrier();
        return value;
    }

    /// <summary>Stores through an entry that covers the access.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Put<T>(ref TlbEntry entry, ulong linear, T value) where T : unmanaged
    {
        Volatile.WriteBarrier();
        // SAFETY: a TLB entry covers the whole page, and the access does not leave it.
        Unsafe.WriteUnaligned((void*)(linear + (ulong)entry.Addend), value);
    }

    /// <summary>
    /// Begins a read-modify-write of the memory operand: loads it, with write permission checked. The handler computes, then
    /// calls <see cref="EndUpdate"/>, and begins again if that says so (a LOCKed operation that raced with another processor).
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryBeginUpdate<T>(ref Op op, out T value, out Cell cell) where T : unmanaged
    {
        if (op.Address == AddressKind.Flat64)
        {
            var linear = Offset(ref op);
            ref var entry = ref _writes[Tlb.Slot(linear)];
            if (entry.Covers(linear, (uint)(sizeof(T) - 1)))
            {
                cell = new Cell { Host = (nint)(linear + (ulong)entry.Addend), Linear = linear };
                // SAFETY: a TLB entry covers the whole page, and the access does not leave it.
                value = Unsafe.ReadUnaligned<T>((void*)cell.Host);
                return true;
            }
        }

        return TryBeginUpdateSlow(ref op, out value, out cell);
    }

    /// <summary>Ends a read-modify-write. False: begin again.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool EndUpdate<T>(ref Op op, Cell cell, T before, T after) where T : unmanaged
    {
        if (cell.Host != 0 && (op.Flags & OpFlags.Lock) == 0 && !cell.Marked)
        {
            Unsafe.WriteUnaligned((void*)cell.Host, after);
            return true;
        }

        return EndUpdateSlow(ref op, cell, before, after);
    }

    /// <summary>Loads from a linear address with the current privilege.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryRead<T>(ulong linear, out T value) where T : unmanaged
    {
        ref var entry = ref _reads[Tlb.Slot(linear)];
        if (entry.Covers(linear, (uint)(sizeof(T) - 1)))
        {
            // SAFETY: a TLB entry covers the whole page, and the access does not leave it.
            value = Unsafe.ReadUnaligned<T>((void*)(linear + (ulong)entry.Addend));
            Volatile.ReadBarrier();
            return true;
        }

        value = default;
        fixed (T* p = &value) return TryAccess(linear, (byte*)p, sizeof(T), Access.Read, _view);
    }

    /// <summary>Stores to a linear address with the current privilege.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryWrite<T>(ulong linear, T value) where T : unmanaged
    {
        ref var entry = ref _writes[Tlb.Slot(linear)];
        if (entry.Covers(linear, (uint)(sizeof(T) - 1)))
        {
            Volatile.WriteBarrier();
            // SAFETY: a TLB entry covers the whole page, and the access does not leave it.
            Unsafe.WriteUnaligned((void*)(linear + (ulong)entry.Addend), value);
            return true;
        }

        return TryAccess(linear, (byte*)&value, sizeof(T), Access.Write, _view);
    }

    /// <summary>Loads as the processor itself does (descriptor tables, TSS): with supervisor privilege, whatever CPL and AC say.</summary>
    public bool TryReadSystem<T>(ulong linear, out T value) where T : unmanaged
    {
        ref var entry = ref _tlb.Reads(Tlb.System)[Tlb.Slot(linear)];
        if (Covers<T>(ref entry, linear))
        {
            value = At<T>(ref entry, linear);
            return true;
        }

        value = default;
        fixed (T* p = &value) return TryAccess(linear, (byte*)p, sizeof(T), Access.Read, Tlb.System);
    }

    /// <summary>Stores as the processor itself does: with supervisor privilege, whatever CPL and AC say.</summary>
    public bool TryWriteSystem<T>(ulong linear, T value) where T : unmanaged =>
        TryAccess(linear, (byte*)&value, sizeof(T), Access.Write, Tlb.Supervisor);

    /// <summary>The effective address of the memory operand before any truncation: what LEA computes in 64-bit mode.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ulong Offset(ref Op op) => Reg<ulong>(op.Base) + (Reg<ulong>(op.Index) << op.Scale) + op.Disp;

    /// <summary>The linear address of the memory operand, with segment checks where they apply.</summary>
    /// <param name="op">The instruction.</param>
    /// <param name="size">Bytes of the access, for the limit check.</param>
    /// <param name="access">Read or write, for the type check.</param>
    /// <param name="linear">The address.</param>
    /// <param name="offset">Added to the effective address before truncation: for operands in several pieces, and bit tests.</param>
    public bool TryLinear(ref Op op, int size, Access access, out ulong linear, ulong offset = 0)
    {
        linear = Offset(ref op) + offset;
        switch (op.Address)
        {
            case AddressKind.Flat64:
                return true;
            case AddressKind.Based64:
                linear += S.Seg[op.Segment].Base;
                return true;
            case AddressKind.Truncated64:
                linear = (uint)linear + (op.Segment >= 4 ? S.Seg[op.Segment].Base : 0);
                return true;
            case AddressKind.Segmented32:
                return TrySegment(op.Segment, (uint)linear, size, access, out linear);
            default:
                return TrySegment(op.Segment, (ushort)linear, size, access, out linear);
        }
    }

    private bool TryLoadSlow<T>(ref Op op, out T value) where T : unmanaged
    {
        value = default;
        if (!TryLinear(ref op, sizeof(T), Access.Read, out var linear)) return false;
        ref var entry = ref _reads[Tlb.Slot(linear)];
        if (entry.Covers(linear, (uint)(sizeof(T) - 1)))
        {
            // SAFETY: a TLB entry covers the whole page, and the access does not leave it.
            value = Unsafe.ReadUnaligned<T>((void*)(linear + (ulong)entry.Addend));
            Volatile.ReadBarrier();
            return true;
        }

        fixed (T* p = &value) return TryAccess(linear, (byte*)p, sizeof(T), Access.Read, _view) || StackFault(ref op);
    }

    private bool TryStoreSlow<T>(ref Op op, T value) where T : unmanaged
    {
        if (!TryLinear(ref op, sizeof(T), Access.Write, out var linear)) return false;
        ref var entry = ref _writes[Tlb.Slot(linear)];
        if (entry.Covers(linear, (uint)(sizeof(T) - 1)))
        {
            Volatile.WriteBarrier();
            // SAFETY: a TLB entry covers the whole page, and the access does not leave it.
            Unsafe.WriteUnaligned((void*)(linear + (ulong)entry.Addend), value);
            return true;
        }

        return TryAccess(linear, (byte*)&value, sizeof(T), Access.Write, _view) || StackFault(ref op);
    }

    /// <summary>Stores with the privilege of a TLB set: pushes onto the stack of another level.</summary>
    private bool TryWriteView<T>(ulong linear, T value, int view) where T : unmanaged
    {
        if (view == _view) return TryWrite(linear, value);
        ref var entry = ref _tlb.Writes(view)[Tlb.Slot(linear)];
        if (!Covers<T>(ref entry, linear)) return TryAccess(linear, (byte*)&value, sizeof(T), Access.Write, view);
        Put(ref entry, linear, value);
        return true;
    }
}
