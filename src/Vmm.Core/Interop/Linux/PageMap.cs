// proc_pid_pagemap(5); Linux, Documentation/admin-guide/mm/pagemap.rst, "Pagemap Scan IOCTL" (since 6.7).
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vmm.Core.Interop.Linux;

/// <summary>Asks the kernel which pages of this process's memory hold something.</summary>
internal static unsafe partial class PageMap
{
    private const uint PAGEMAP_SCAN = 0xC060_6610;
    private const ulong PAGE_IS_PRESENT = 1 << 3, PAGE_IS_SWAPPED = 1 << 4, PAGE_IS_PFNZERO = 1 << 5;

    private static readonly SafeFileHandle? s_file = Open();

    /// <summary>Finds the pages that are in memory or swapped out. All others of private anonymous memory are zero.</summary>
    /// <param name="address">Page-aligned.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="used">Takes the ranges.</param>
    /// <returns>How many ranges there are; null where the kernel does not tell, or there are more than have room.</returns>
    public static int? FindUsed(nint address, ulong length, Span<PageRange> used)
    {
        if (s_file is null) return null;
        fixed (PageRange* ranges = used)
        {
            var scan = new Scan
            {
                Size = (ulong)sizeof(Scan),
                Start = (ulong)address,
                End = (ulong)address + length,
                Ranges = (ulong)ranges,
                RangeCount = (ulong)used.Length,
                CategoryAnyOf = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
                Returned = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_PFNZERO,
            };
            // SAFETY: the structure and the ranges are pinned or on the stack, and the kernel is told how many there are.
            var count = ioctl(s_file, PAGEMAP_SCAN, &scan);
            return count < 0 || scan.WalkEnd != scan.End ? null : (int)count;
        }
    }

    private static SafeFileHandle? Open()
    {
        if (!OperatingSystem.IsLinux() || !Environment.Is64BitProcess) return null;
        try
        {
            return File.OpenHandle("/proc/self/pagemap", FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    [LibraryImport("libc")]
    private static partial int ioctl(SafeFileHandle fd, nuint request, Scan* argument);

    /// <summary>A range of pages of one kind: <c>struct page_region</c>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public readonly struct PageRange
    {
        /// <summary>The first address.</summary>
        public readonly ulong Start;

        /// <summary>The first address behind it.</summary>
        public readonly ulong End;

        private readonly ulong _categories;

        /// <summary>Whether nothing has been written to it: the kernel's page of zeros stands for all of its pages.</summary>
        public bool IsZero => (_categories & PAGE_IS_PFNZERO) != 0;
    }

    // struct pm_scan_arg
    [StructLayout(LayoutKind.Sequential)]
    private struct Scan
    {
        public ulong Size;
        public ulong Flags;
        public ulong Start;
        public ulong End;
        public ulong WalkEnd;
        public ulong Ranges;
        public ulong RangeCount;
        public ulong MaxPages;
        public ulong CategoryInverted;
        public ulong CategoryMask;
        public ulong CategoryAnyOf;
        public ulong Returned;
    }
}
