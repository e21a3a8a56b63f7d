using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;
using Vmm.Core.Memory;

namespace Vmm.Backends.Software.Cpu;

/// <summary>Accesses that the TLB does not cover: walks, page ends, I/O, locks, and writes to pages with decoded code.</summary>
internal sealed unsafe partial class Vcpu
{
    // The region of the page that was last looked for to be written, if it has decoded code.
    private MemoryRegion? _marked;
    private ulong _markedRun;

    /// <summary>
    /// The run of host bytes behind a linear address, for string instructions: up to the end of its page, zero where each
    /// access must be made by itself (I/O, pages with code). A fault is recorded as by a one-byte access.
    /// </summary>
    /// <param name="linear">The address.</param>
    /// <param name="access">Read or write.</param>
    /// <param name="host">The bytes.</param>
    /// <param name="length">How many there are.</param>
    /// <param name="wanted">Bytes that are going to be written, upwards, if the caller calls <see cref="EndRun"/> afterwards.</param>
    public bool TryRun(ulong linear, Access access, out byte* host, out int length, int wanted = 0)
    {
        host = null;
        length = 0;
        _marked = null;
        var entries = access == Access.Write ? _writes : _reads;
        if (!entries[Tlb.Slot(linear)].Covers(linear, 0) && !_tlb.TryRefill(_view, access == Access.Write, linear))
        {
            if (!TryTranslate(linear, access, _view, out var gpa, out var global)) return false;
            if (_view == Tlb.Checked) return true;
            var page = HostPage(gpa, linear, access, _view, global);
            if (page == null) return true;
            if (_marked is not null)
            {
                if (wanted == 0) return true;
                host = page;
                (length, _markedRun) = (Math.Min(wanted, 4096 - (int)(linear & 0xFFF)), gpa);
                return true;
            }

            entries = access == Access.Write ? _writes : _reads;
        }

        ref var entry = ref entries[Tlb.Slot(linear)];
        if (!entry.Covers(linear, 0)) return true;
        host = (byte*)(linear + (ulong)entry.Addend);
        length = 4096 - (int)(linear & 0xFFF);
        return true;
    }

    /// <summary>Bytes of the last run were written from its start.</summary>
    public void EndRun(uint length)
    {
        if (_marked is { } region) Partition.CodeWritten(this, region, _markedRun, length);
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
                var page = HostPage(gpa, linear, Access.Write, _view, global);
                if (_marked is not null)
                {
                    cell = new Cell { Host = (nint)page, Linear = gpa, Marked = true };
                    value = Unsafe.ReadUnaligned<T>(page);
                    return true;
                }
            }

            ref var entry = ref _writes[Tlb.Slot(linear)];
            if (entry.Covers(linear, 0))
            {
                cell.Host = (nint)(linear + (ulong)entry.Addend);
                value = Unsafe.ReadUnaligned<T>((void*)cell.Host);
                return true;
            }
        }

        // Across pages or to I/O: the whole machine's LOCK covers the two accesses.
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
        var done = true;
        if ((op.Flags & OpFlags.Lock) == 0) Unsafe.WriteUnaligned((void*)cell.Host, after);
        else done = TryExchange((byte*)cell.Host, before, after);
        if (done && cell.Marked && Partition.Memory.Find(cell.Linear) is { } region) Partition.CodeWritten(this, region, cell.Linear, (uint)sizeof(T));
        return done;
    }

    // SAFETY: of the callers: the bytes are there.
    private bool TryExchange<T>(byte* host, T before, T after) where T : unmanaged
    {
        if (sizeof(T) == 1) return Interlocked.CompareExchange(ref *host, Unsafe.BitCast<T, byte>(after), Unsafe.BitCast<T, byte>(before)) == Unsafe.BitCast<T, byte>(before);
        if (sizeof(T) == 2) return Interlocked.CompareExchange(ref *(ushort*)host, Unsafe.BitCast<T, ushort>(after), Unsafe.BitCast<T, ushort>(before)) == Unsafe.BitCast<T, ushort>(before);
        if (sizeof(T) == 4) return Interlocked.CompareExchange(ref *(uint*)host, Unsafe.BitCast<T, uint>(after), Unsafe.BitCast<T, uint>(before)) == Unsafe.BitCast<T, uint>(before);
        if (sizeof(T) == 8) return Interlocked.CompareExchange(ref *(ulong*)host, Unsafe.BitCast<T, ulong>(after), Unsafe.BitCast<T, ulong>(before)) == Unsafe.BitCast<T, ulong>(before);

        // CMPXCHG16B: .NET has no 16-byte compare-exchange; the machine's lock orders those of all its processors.
        lock (Partition.WideLock)
        {
            if (!new ReadOnlySpan<byte>(host, sizeof(T)).SequenceEqual(new ReadOnlySpan<byte>(&before, sizeof(T)))) return false;
            Unsafe.WriteUnaligned(host, after);
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
            Transfer(host, gpa, data, size, access, _marked);
            return true;
        }

        // In 64-bit mode the second page is the next one; outside it addresses wrap at 4 GiB.
        var secondLinear = linear + (uint)first;
        if ((S.Mode & CpuMode.CodeMask) != CpuMode.Code64) secondLinear = (uint)secondLinear;
        if (!TryTranslate(secondLinear, access, view, out var secondGpa, out var secondGlobal)) return false;
        var firstHost = (nint)HostPage(gpa, linear, access, view, global);
        var firstMarked = _marked;
        var secondHost = (nint)HostPage(secondGpa, secondLinear, access, view, secondGlobal);
        var secondMarked = _marked;
        if ((firstHost == 0 && InterceptsMemory(gpa, access)) || (secondHost == 0 && InterceptsMemory(secondGpa, access))) return false;
        Transfer((byte*)firstHost, gpa, data, first, access, firstMarked);
        Transfer((byte*)secondHost, secondGpa, data + first, size - first, access, secondMarked);
        return true;
    }

    private void Transfer(byte* host, ulong gpa, byte* data, int size, Access access, MemoryRegion? marked)
    {
        if (host == null)
        {
            if (access == Access.Write) WritePhysicalIo(gpa, new ReadOnlySpan<byte>(data, size));
            else ReadPhysicalIo(gpa, new Span<byte>(data, size));
        }
        else if (access == Access.Read)
        {
            Copy(host, data, size);
        }
        else
        {
            Copy(data, host, size);
            if (marked is not null) Partition.CodeWritten(this, marked, gpa, (uint)size);
        }
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
    /// dirty, and the TLB takes the translation unless it is a write to a page with decoded code (<see cref="_marked"/>), of which
    /// <see cref="SoftwarePartition.CodeWritten"/> must hear afterwards.
    /// </summary>
    private byte* HostPage(ulong gpa, ulong linear, Access access, int view, bool global)
    {
        _marked = null;
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
                if ((flags & PageFlags.Code) != 0)
                {
                    _marked = region;
                    return host;
                }
            }
        }

        _tlb.Fill(view, write, linear, (nint)host, global);
        FindEntries();
        return host;
    }
}
