using System.Runtime.InteropServices;
using Vmm.Core.Memory;

namespace Vmm.Backends.Software.Decode;

/// <summary>The pages of a machine's memory that hold decoded code.</summary>
internal sealed unsafe class CodeMap : IDisposable
{
    /// <summary>The binary logarithm of the bytes that are tracked as one.</summary>
    public const int GranuleShift = 6;

    // Pages that have their memory together; most have none.
    private const int ChunkShift = 6, ChunkPages = 1 << ChunkShift;

    // Few, and replaced as a whole, so that they are read without a lock. For each chunk of pages where it is, or zero.
    private (MemoryRegion Region, nint Chunks)[] _regions = [];

    /// <summary>The granules that bytes of one page lie in.</summary>
    /// <param name="gpa">The first byte.</param>
    /// <param name="length">At least one; no more than the page has.</param>
    public static ulong Granules(ulong gpa, uint length)
    {
        var first = (int)(gpa & 0xFFF) >> GranuleShift;
        var last = (int)((gpa & 0xFFF) + length - 1) >> GranuleShift;
        return ulong.MaxValue >> (63 - last) & ulong.MaxValue << first;
    }

    /// <summary>What is known of a page. Any thread.</summary>
    // SAFETY: there is a pointer for each chunk of pages of the region, and what it points to stays until Dispose.
    public CodePage* Find(MemoryRegion region, ulong gpa)
    {
        var page = (gpa - region.Start) / MemoryRegion.PageSize;
        ref var chunk = ref ((nint*)ChunksOf(region))[page >> ChunkShift];
        var pages = Volatile.Read(ref chunk);
        if (pages == 0)
        {
            pages = (nint)NativeMemory.AllocZeroed(ChunkPages, (nuint)sizeof(CodePage));
            var other = Interlocked.CompareExchange(ref chunk, pages, 0);
            if (other != 0)
            {
                NativeMemory.Free((void*)pages);
                pages = other;
            }
        }

        return (CodePage*)pages + (page & (ChunkPages - 1));
    }

    public void Dispose()
    {
        foreach (var (region, chunks) in _regions)
        {
            for (var i = 0UL; i < ChunkCount(region); i++) NativeMemory.Free((void*)((nint*)chunks)[i]);
            NativeMemory.Free((void*)chunks);
        }

        _regions = [];
    }

    private static ulong ChunkCount(MemoryRegion region) => (region.Length / MemoryRegion.PageSize + ChunkPages - 1) >> ChunkShift;

    private nint ChunksOf(MemoryRegion region)
    {
        while (true)
        {
            var regions = _regions;
            foreach (var (known, chunks) in regions)
            {
                if (known == region) return chunks;
            }

            var added = (nint)NativeMemory.AllocZeroed((nuint)ChunkCount(region), (nuint)sizeof(nint));
            if (Interlocked.CompareExchange(ref _regions, [.. regions, (region, added)], regions) == regions) return added;
            NativeMemory.Free((void*)added);
        }
    }
}
