using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;
using Vmm.Core.Memory;

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
        if (cell.Host != 0 && (op.Flags & OpFlags.Lock) == 0)
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

    /// <summary>
    /// The run of host bytes behind a linear address, for string instructions: up to the end of its page, zero where each
    /// access must be made by itself (I/O, watched pages). A fault is recorded as by a one-byte access.
    /// </summary>
    public bool TryRun(ulong linear, Access access, out byte* host, out int length)
    {
        host = null;
        length = 0;
        var entries = access == Access.Write ? _writes : _reads;
        if (!entries[Tlb.Slot(linear)].Covers(linear, 0) && !_tlb.TryRefill(_view, access == Access.Write, linear))
        {
            if (!TryTranslate(linear, access, _view, out var gpa, out var global)) return false;
            if (_view == Tlb.Checked || HostPage(gpa, linear, access, _view, global) == null) return true;
        }

        ref var entry = ref entries[Tlb.Slot(linear)];
        if (!entry.Covers(linear, 0)) return true;
        host = (byte*)(linear + (ulong)entry.Addend);
        length = 4096 - (int)(linear & 0xFFF);
        return true;
    }

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

    private bool TryBeginUpdateSlow<T>(ref Op op, out T value, out Cell cell) where T : unmanaged
    {
        (value, cell) = (default, default);
        if (!TryLinear(ref op, sizeof(T), Access.Write, out var linear)) return false;
        cell.Linear = linear;
        if ((linear & 0xFFF) + (uint)sizeof(T) <= 4096)
        {
            if (!_writes[Tlb.Slot(linear)].Covers(linear, 0) && _view != Tlb.Checked)
            {
                if (!TryTranslate(linear, Access.Write, _view, out var gpa, out var global)) return StackFault(ref op);
                HostPage(gpa, linear, Access.Write, _view, global);
            }

            ref var entry = ref _writes[Tlb.Slot(linear)];
            if (entry.Covers(linear, 0))
            {
                cell.Host = (nint)(linear + (ulong)entry.Addend);
                value = Unsafe.ReadUnaligned<T>((void*)cell.Host);
                return true;
            }
        }

        // Across pages, to I/O, or watched: the whole machine's LOCK covers the two accesses.
        if (!TryProbeWrite(linear, sizeof(T))) return StackFault(ref op);
        if (Partition.Intercepts is not null && TryTranslate(linear, Access.Write, _view, out var target, out _) && HostPage(target, linear, Access.Write, _view, false) == null && InterceptsMemory(target, Access.Write)) return false;
        if ((op.Flags & OpFlags.Lock) != 0) Partition.SplitLock.Enter();
        fixed (T* p = &value)
        {
            if (TryAccess(linear, (byte*)p, sizeof(T), Access.Read, _view)) return true;
        }

        if ((op.Flags & OpFlags.Lock) != 0) Partition.SplitLock.Exit();
        return StackFault(ref op);
    }

    private bool EndUpdateSlow<T>(ref Op op, Cell cell, T before, T after) where T : unmanaged
    {
        if (cell.Host == 0)
        {
            TryAccess(cell.Linear, (byte*)&after, sizeof(T), Access.Write, _view);
            if ((op.Flags & OpFlags.Lock) != 0) Partition.SplitLock.Exit();
            return true;
        }

        // SAFETY: Host was translated for writing by the begin of this same instruction.
        if (sizeof(T) == 1) return Interlocked.CompareExchange(ref *(byte*)cell.Host, Unsafe.BitCast<T, byte>(after), Unsafe.BitCast<T, byte>(before)) == Unsafe.BitCast<T, byte>(before);
        if (sizeof(T) == 2) return Interlocked.CompareExchange(ref *(ushort*)cell.Host, Unsafe.BitCast<T, ushort>(after), Unsafe.BitCast<T, ushort>(before)) == Unsafe.BitCast<T, ushort>(before);
        if (sizeof(T) == 4) return Interlocked.CompareExchange(ref *(uint*)cell.Host, Unsafe.BitCast<T, uint>(after), Unsafe.BitCast<T, uint>(before)) == Unsafe.BitCast<T, uint>(before);
        if (sizeof(T) == 8) return Interlocked.CompareExchange(ref *(ulong*)cell.Host, Unsafe.BitCast<T, ulong>(after), Unsafe.BitCast<T, ulong>(before)) == Unsafe.BitCast<T, ulong>(before);

        // CMPXCHG16B: .NET has no 16-byte compare-exchange; the machine's lock orders those of all its processors.
        lock (Partition.WideLock)
        {
            if (!new ReadOnlySpan<byte>((void*)cell.Host, sizeof(T)).SequenceEqual(new ReadOnlySpan<byte>(&before, sizeof(T)))) return false;
            Unsafe.WriteUnaligned((void*)cell.Host, after);
            return true;
        }
    }

    /// <summary>Any access, page by page: translated whole before any byte is written.</summary>
    private bool TryAccess(ulong linear, byte* data, int size, Access access, int view)
    {
        if (view == Tlb.Checked && !CheckedAccess(linear, size, access)) return false;
        if (!TryTranslate(linear, access, view, out var gpa, out var global)) return false;
        var first = Math.Min(size, 4096 - (int)(linear & 0xFFF));
        if (first == size)
        {
            var host = HostPage(gpa, linear, access, view, global);
            if (host == null && InterceptsMemory(gpa, access)) return false;
            Transfer(host, gpa, data, size, access);
            return true;
        }

        // In 64-bit mode the second page is the next one; outside it addresses wrap at 4 GiB.
        var secondLinear = linear + (uint)first;
        if ((S.Mode & CpuMode.CodeMask) != CpuMode.Code64) secondLinear = (uint)secondLinear;
        if (!TryTranslate(secondLinear, access, view, out var secondGpa, out var secondGlobal)) return false;
        var (firstHost, secondHost) = ((nint)HostPage(gpa, linear, access, view, global), (nint)HostPage(secondGpa, secondLinear, access, view, secondGlobal));
        if ((firstHost == 0 && InterceptsMemory(gpa, access)) || (secondHost == 0 && InterceptsMemory(secondGpa, access))) return false;
        Transfer((byte*)firstHost, gpa, data, first, access);
        Transfer((byte*)secondHost, secondGpa, data + first, size - first, access);
        return true;
    }

    private void Transfer(byte* host, ulong gpa, byte* data, int size, Access access)
    {
        if (host == null)
        {
            if (access == Access.Write) WritePhysicalIo(gpa, new ReadOnlySpan<byte>(data, size));
            else ReadPhysicalIo(gpa, new Span<byte>(data, size));
        }
        else if (access == Access.Write) Copy(data, host, size);
        else Copy(host, data, size);
    }

    // Powers of two are single accesses: other processors must not see half of an aligned value.
    private static void Copy(byte* from, byte* to, int size)
    {
        switch (size)
        {
            case 1: *to = *from; break;
            case 2: Unsafe.WriteUnaligned(to, Unsafe.ReadUnaligned<ushort>(from)); break;
            case 4: Unsafe.WriteUnaligned(to, Unsafe.ReadUnaligned<uint>(from)); break;
            case 8: Unsafe.WriteUnaligned(to, Unsafe.ReadUnaligned<ulong>(from)); break;
            default: Unsafe.CopyBlockUnaligned(to, from, (uint)size); break;
        }
    }

    /// <summary>
    /// The host address behind a guest-physical one, or null for I/O (or a write to ROM). On the way a write marks the page
    /// dirty and drops code decoded from it, and the TLB takes the translation where nothing has to watch the page.
    /// </summary>
    private byte* HostPage(ulong gpa, ulong linear, Access access, int view, bool global)
    {
        var region = _lastRegion;
        if (region is null || gpa - region.Start >= region.Length)
        {
            region = Partition.Memory.Find(gpa);
            if (region is null || Apic.Claims(gpa)) return null;
            _lastRegion = region;
        }
        else if (Apic.Claims(gpa))
        {
            return null;
        }

        var write = access == Access.Write;
        if (write && region.Kind == MemoryRegionKind.Rom) return null;
        var offset = gpa - region.Start;
        // SAFETY: offset was checked against the region's length; regions outlive the partition.
        var host = (byte*)region.HostAddress + offset;
        if (write)
        {
            var flags = (PageFlags)Volatile.Read(ref *((byte*)region.PageFlagsAddress + offset / 4096));
            if (flags != PageFlags.None)
            {
                region.ClearFlags(offset / 4096, PageFlags.Clean);
                if ((flags & PageFlags.Code) != 0) Partition.InvalidateCode(this, region, gpa & ~0xFFFUL);
            }
        }

        _tlb.Fill(view, write, linear, (nint)host, global);
        return host;
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
