// Windows SDK, memoryapi.h: CreateFileMappingW, MapViewOfFile, UnmapViewOfFile.
using System.Runtime.InteropServices;

namespace Vmm.Backends.Software.Interop;

/// <summary>Windows' calls for memory that is mapped twice.</summary>
internal static partial class WindowsMemory
{
    private const uint PAGE_EXECUTE_READWRITE = 0x40, FILE_MAP_WRITE = 2, FILE_MAP_READ = 4, FILE_MAP_EXECUTE = 0x20;

    /// <summary>Maps new memory once for writing and once for execution. False where the host forbids it.</summary>
    public static bool TryMapTwice(nuint bytes, out nint writable, out nint executable)
    {
        (writable, executable) = (0, 0);
        var section = CreateFileMappingW(-1, 0, PAGE_EXECUTE_READWRITE, (uint)((ulong)bytes >> 32), (uint)bytes, 0);
        if (section == 0) return false;
        try
        {
            writable = MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, bytes);
            if (writable == 0) return false;
            executable = MapViewOfFile(section, FILE_MAP_READ | FILE_MAP_EXECUTE, 0, 0, bytes);
            if (executable != 0) return true;
            UnmapViewOfFile(writable);
            return false;
        }
        finally
        {
            CloseHandle(section);
        }
    }

    /// <summary>Ends both mappings.</summary>
    public static void Unmap(nint writable, nint executable)
    {
        UnmapViewOfFile(writable);
        UnmapViewOfFile(executable);
    }

    [LibraryImport("kernel32")]
    private static partial nint CreateFileMappingW(nint hFile, nint attributes, uint protect, uint sizeHigh, uint sizeLow, nint name);

    [LibraryImport("kernel32")]
    private static partial nint MapViewOfFile(nint mapping, uint access, uint offsetHigh, uint offsetLow, nuint bytes);

    [LibraryImport("kernel32")]
    private static partial int UnmapViewOfFile(nint address);

    [LibraryImport("kernel32")]
    private static partial int CloseHandle(nint handle);
}
