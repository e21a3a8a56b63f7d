using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vmm.Devices.Storage.Interop.Linux;

/// <summary>What .NET does not offer of files on Linux: holes, and input and output past the page cache.</summary>
internal static partial class LibC
{
    public const int FALLOC_FL_KEEP_SIZE = 0x01, FALLOC_FL_PUNCH_HOLE = 0x02, FALLOC_FL_ZERO_RANGE = 0x10;
    public const int SEEK_DATA = 3, SEEK_HOLE = 4;
    public const int EINTR = 4, ENXIO = 6, EINVAL = 22, EOPNOTSUPP = 95;
    private const int F_GETFL = 3, F_SETFL = 4;
    private static readonly int O_DIRECT = RuntimeInformation.ProcessArchitecture is Architecture.Arm64 or Architecture.Arm ? 0x10000 : 0x4000;

    /// <summary>Makes a hole or zeros. Returns 0 or errno.</summary>
    public static int Allocate(SafeFileHandle file, int mode, long offset, long length)
    {
        int error;
        do error = fallocate(file, mode, offset, length) == 0 ? 0 : Marshal.GetLastPInvokeError();
        while (error == EINTR);
        return error;
    }

    /// <summary>The next data or hole at or after an offset; a negative errno where there is none or the file system cannot tell.</summary>
    public static long Seek(SafeFileHandle file, long offset, int whence)
    {
        var found = lseek(file, offset, whence);
        return found >= 0 ? found : -Marshal.GetLastPInvokeError();
    }

    /// <summary>Turns the page cache off for an open file. Returns 0 or errno.</summary>
    public static int SetDirect(SafeFileHandle file)
    {
        var flags = fcntl(file, F_GETFL, 0);
        return flags >= 0 && fcntl(file, F_SETFL, flags | O_DIRECT) >= 0 ? 0 : Marshal.GetLastPInvokeError();
    }

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    private static partial int fallocate(SafeFileHandle fd, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    private static partial long lseek(SafeFileHandle fd, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int fcntl(SafeFileHandle fd, int command, nint argument);
}
