// POSIX.1-2017 <termios.h>; cfmakeraw(3).
using System.Runtime.InteropServices;

namespace Vmm.Cli.Interop.Unix;

/// <summary>
/// A terminal's settings. struct termios differs from system to system, so it is kept as bytes that only the C library looks into.
/// </summary>
internal static partial class Termios
{
    // The largest known is 72 bytes (macOS).
    private const int Size = 256;
    private const int StandardInput = 0, TCSANOW = 0;

    /// <summary>The settings of standard input's terminal; null where it has none.</summary>
    public static byte[]? Get()
    {
        var settings = new byte[Size];
        return tcgetattr(StandardInput, settings) == 0 ? settings : null;
    }

    /// <summary>The same settings with no echo, no line editing, no signals and no translation, in either direction.</summary>
    public static byte[] MakeRaw(byte[] settings)
    {
        var raw = (byte[])settings.Clone();
        cfmakeraw(raw);
        return raw;
    }

    public static void Set(byte[] settings) => _ = tcsetattr(StandardInput, TCSANOW, settings);

    [LibraryImport("libc")]
    private static partial int tcgetattr(int fd, Span<byte> termios);

    [LibraryImport("libc")]
    private static partial int tcsetattr(int fd, int actions, ReadOnlySpan<byte> termios);

    [LibraryImport("libc")]
    private static partial void cfmakeraw(Span<byte> termios);
}
