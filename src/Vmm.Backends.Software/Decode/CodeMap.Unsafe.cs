using System.Runtime.InteropServices;
using Vmm.Core.Memory;

namespace Vmm.Backends.Software.Decode;

/// <summary>The pages of a machine's memory that hold decoded code.</summary>
internal sealed unsafe class CodeMap : IDisposable
{
    /// <summary>The binary logarithm of the bytes that are tracked as one.</summary>
    public const int GranuleShift = 6;

    private readonly Lock _additions = new();

    // Few, and replaced as a whole, so that they are read without a lock.
    private (MemoryRegion Region, nint Pages)[] _regions = [];

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
    // SAFETY: there is one for each page of the region, until Dispose.
    public CodePage* Find(MemoryRegion region, ulong gpa) => (CodePage*)PagesOf(region) + (gpa - region.Start) / MemoryRegion.PageSize;

    public void Dispose()
    {
        foreach (var (_, pages) in _regions) NativeMemory.Free((void*)pages);
        _regions = [];
    }

    private nint PagesOf(MemoryRegion region)
    {
        foreach (var (known, pages) in _regions)
        {
            if (known == region) return pages;
        }

        return Add(region);
    }

    private nint Add(MemoryRegion region)
    {
        lock (_additions)
        {
            foreach (var (known, pages) in _regions)
            {
                if (known == region) return pages;
            }

            // Zeros straight from the operating system, of which few are ever touched.
            var added = (nint)NativeMemory.AllocZeroed((nuint)(region.Length / MemoryRegion.PageSize), (nuint)sizeof(CodePage));
            _regions = [.. _regions, (region, added)];
            return added;
        }
    }
}
