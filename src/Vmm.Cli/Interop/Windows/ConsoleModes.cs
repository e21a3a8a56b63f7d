// Windows console documentation, "SetConsoleMode".
using System.Runtime.InteropServices;

namespace Vmm.Cli.Interop.Windows;

/// <summary>The modes of the console that standard input and output are connected to.</summary>
internal static partial class ConsoleModes
{
    private const int STD_INPUT_HANDLE = -10, STD_OUTPUT_HANDLE = -11;
    private const uint ENABLE_PROCESSED_INPUT = 0x0001, ENABLE_LINE_INPUT = 0x0002, ENABLE_ECHO_INPUT = 0x0004, ENABLE_VIRTUAL_TERMINAL_INPUT = 0x0200;
    private const uint ENABLE_PROCESSED_OUTPUT = 0x0001, ENABLE_VIRTUAL_TERMINAL_PROCESSING = 0x0004, DISABLE_NEWLINE_AUTO_RETURN = 0x0008;

    /// <summary>The modes of input and output; null where standard input is no console.</summary>
    public static (uint Input, uint Output)? Get() =>
        GetConsoleMode(GetStdHandle(STD_INPUT_HANDLE), out var input) == 0 ? null : (input, GetConsoleMode(GetStdHandle(STD_OUTPUT_HANDLE), out var output) == 0 ? 0 : output);

    /// <summary>Every key as bytes, escape sequences in both directions, nothing translated.</summary>
    public static (uint Input, uint Output) MakeRaw((uint Input, uint Output) modes) => (
        modes.Input & ~(ENABLE_PROCESSED_INPUT | ENABLE_LINE_INPUT | ENABLE_ECHO_INPUT) | ENABLE_VIRTUAL_TERMINAL_INPUT,
        modes.Output | ENABLE_PROCESSED_OUTPUT | ENABLE_VIRTUAL_TERMINAL_PROCESSING | DISABLE_NEWLINE_AUTO_RETURN);

    public static void Set((uint Input, uint Output) modes)
    {
        _ = SetConsoleMode(GetStdHandle(STD_INPUT_HANDLE), modes.Input);
        _ = SetConsoleMode(GetStdHandle(STD_OUTPUT_HANDLE), modes.Output);
    }

    [LibraryImport("kernel32")]
    private static partial nint GetStdHandle(int handle);

    [LibraryImport("kernel32")]
    private static partial int GetConsoleMode(nint handle, out uint mode);

    [LibraryImport("kernel32")]
    private static partial int SetConsoleMode(nint handle, uint mode);
}
