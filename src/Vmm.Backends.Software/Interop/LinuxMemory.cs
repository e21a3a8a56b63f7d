// memfd_create(2), mmap(2).
using System.Runtime.InteropServices;

namespace Vmm.Backends.Software.Interop;

/// <summary>Linux's calls for memory that is mapped twice.</summary>
internal static unsafe partial class LinuxMemory
{
    private const int PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4, MAP_SHARED = 1;
    private const uint MFD_CLOEXEC = 1;

    /// <summary>Maps new memory once for writing and once for execution. False where the host forbids it.</summary>
    public static bool TryMapTwice(nuint bytes, out nint writable, out nint executable)
    {
        (writable, executable) = (0, 0);
        var file = memfd_create("vmm-code", MFD_CLOEXEC);
        if (file < 0) return false;
        try
        {
            if (ftruncate(file, (nint)bytes) != 0) return false;
            writable = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
            if (writable == -1) return false;
            executable = mmap(0, bytes, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
            if (executable != -1) return true;
            munmap(writable, bytes);
            return false;
        }
        finally
        {
            close(file);
        }
    }

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
    private static partial int close(int fd);
}
