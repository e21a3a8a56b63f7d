// memfd_create(2), mmap(2), madvise(2).
using System.Runtime.InteropServices;

namespace Vmm.Backends.Software.Interop;

/// <summary>Linux's calls for memory that is mapped twice.</summary>
internal static unsafe partial class LinuxMemory
{
    private const int PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4, MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000, MADV_DONTNEED = 4, MADV_COLLAPSE = 25;
    private const uint MFD_CLOEXEC = 1;

    /// <summary>Bytes of a large page.</summary>
    public const int LargePage = 2 << 20;

    /// <summary>Maps new memory, so that large pages can be had, once for writing and once for execution. False where the host forbids it.</summary>
    /// <param name="bytes">A multiple of <see cref="LargePage"/>.</param>
    /// <param name="writable">One mapping.</param>
    /// <param name="executable">The other.</param>
    public static bool TryMapTwice(nuint bytes, out nint writable, out nint executable)
    {
        (writable, executable) = (0, 0);
        var file = memfd_create("vmm-code", MFD_CLOEXEC);
        if (file < 0) return false;
        try
        {
            if (ftruncate(file, (nint)bytes) != 0) return false;
            var room = mmap(0, 2 * bytes + LargePage, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (room == -1) return false;
            writable = (room + LargePage - 1) & -LargePage;
            executable = writable + (nint)bytes;
            // What is left over at both ends.
            if (writable != room) munmap(room, (nuint)(writable - room));
            if (writable != room + LargePage) munmap(executable + (nint)bytes, (nuint)(room + LargePage - writable));
            if (mmap(writable, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) != -1 && mmap(executable, bytes, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, file, 0) != -1) return true;
            Unmap(writable, executable, bytes);
            return false;
        }
        finally
        {
            close(file);
        }
    }

    /// <summary>Makes large pages of mapped ones, some of which have been written to. Without effect where the kernel cannot.</summary>
    public static void Collapse(nint address, nuint bytes) => _ = madvise(address, bytes, MADV_COLLAPSE);

    /// <summary>Makes private pages of ours zero again, by giving them back.</summary>
    public static bool TryDiscard(nint address, nuint bytes) => madvise(address, bytes, MADV_DONTNEED) == 0;

    /// <summary>Ends both mappings.</summary>
    public static void Unmap(nint writable, nint executable, nuint bytes)
    {
        munmap(writable, bytes);
        munmap(executable, bytes);
    }

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int memfd_create(string name, uint flags);

    [LibraryImport("libc")]
    private static partial int ftruncate(int fd, nint length);

    [LibraryImport("libc")]
    private static partial nint mmap(nint addr, nuint length, int prot, int flags, int fd, nint offset);

    [LibraryImport("libc")]
    private static partial int munmap(nint addr, nuint length);

    [LibraryImport("libc")]
    private static partial int madvise(nint addr, nuint length, int advice);

    [LibraryImport("libc")]
    private static partial int close(int fd);
}
