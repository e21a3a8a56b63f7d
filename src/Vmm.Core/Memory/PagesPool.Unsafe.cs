using System.Runtime.InteropServices;
using Vmm.Core.Interop.Linux;

namespace Vmm.Core.Memory;

/// <summary>Private anonymous mappings that nobody uses, all of their pages zero. Any thread.</summary>
internal sealed unsafe class PagesPool
{
    /// <summary>As many mappings are kept.</summary>
    public const int Size = 8;

    /// <summary>A mapping with more pages in use than this is not kept: clearing them would take longer than a new one, and they are missed elsewhere.</summary>
    public const int MostPages = 16;

    private readonly Lock _lock = new();
    private readonly (nint Address, ulong Length)[] _kept = new (nint, ulong)[Size];
    private int _next;

    /// <summary>Takes a mapping out.</summary>
    /// <param name="length">Its length.</param>
    /// <param name="address">Its address.</param>
    /// <returns>Whether there is one.</returns>
    public bool TryTake(ulong length, out nint address)
    {
        lock (_lock)
        {
            foreach (ref var kept in _kept.AsSpan())
            {
                if (kept.Length != length) continue;
                address = kept.Address;
                kept = default;
                return true;
            }
        }

        address = 0;
        return false;
    }

    /// <summary>Clears a mapping and keeps it. If there is no room another one is unmapped, each in its turn.</summary>
    /// <returns>False if too much of it has been touched, or the kernel does not tell how much: it is the caller's as before.</returns>
    public bool TryKeep(nint address, ulong length)
    {
        if (!TryClear(address, length)) return false;
        nint other;
        ulong otherLength;
        lock (_lock)
        {
            var place = Array.FindIndex(_kept, static k => k.Length == 0);
            if (place < 0) place = _next = (_next + 1) % Size;
            (other, otherLength) = _kept[place];
            _kept[place] = (address, length);
        }

        if (otherLength != 0) LibC.FreePages(other, otherLength);
        return true;
    }

    private static bool TryClear(nint address, ulong length)
    {
        Span<PageMap.PageRange> used = stackalloc PageMap.PageRange[MostPages];
        if (PageMap.FindUsed(address, length, used) is not { } count) return false;
        used = used[..count];
        ulong bytes = 0;
        foreach (ref readonly var range in used) bytes += range.End - range.Start;
        if (bytes > MostPages * MemoryRegion.PageSize) return false;
        foreach (ref readonly var range in used)
        {
            // SAFETY: the kernel told a part of the mapping, which nobody else uses.
            if (!range.IsZero) NativeMemory.Clear((void*)range.Start, (nuint)(range.End - range.Start));
        }

        return true;
    }
}
