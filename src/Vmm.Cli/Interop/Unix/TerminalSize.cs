// ioctl_tty(2): TIOCGWINSZ.
using System.Runtime.InteropServices;

namespace Vmm.Cli.Interop.Unix;

/// <summary>How large a terminal is, on Linux.</summary>
internal static partial class TerminalSize
{
    private const int StandardOutput = 1;
    private const nuint TIOCGWINSZ = 0x5413;

    /// <summary>Columns and rows of standard output's terminal; null where it has none, or it does not know.</summary>
    public static (int Columns, int Rows)? Get()
    {
        // struct winsize: rows, columns, and two numbers of pixels.
        Span<ushort> size = stackalloc ushort[4];
        return ioctl(StandardOutput, TIOCGWINSZ, size) == 0 && size[0] > 0 && size[1] > 0 ? (size[1], size[0]) : null;
    }

    [LibraryImport("libc")]
    private static partial int ioctl(int fd, nuint request, Span<ushort> size);
}
