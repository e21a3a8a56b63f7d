using System.Runtime.InteropServices;
using Vmm.Cli.Interop.Unix;

namespace Vmm.Cli.Terminal;

/// <summary>The size of the user's terminal.</summary>
internal static class WindowSize
{
    /// <summary>Tells columns and rows now and, where the system says so, whenever they change, until disposed; null where there is no terminal.</summary>
    /// <param name="changed">Columns and rows. On any thread.</param>
    public static IDisposable? Follow(Action<int, int> changed)
    {
        if (OperatingSystem.IsWindows())
        {
            if (!Console.IsOutputRedirected) changed(Console.WindowWidth, Console.WindowHeight);
            return null;
        }

        if (!OperatingSystem.IsLinux() || !Tell()) return null;
        return PosixSignalRegistration.Create(PosixSignal.SIGWINCH, _ => Tell());

        bool Tell()
        {
            if (TerminalSize.Get() is not var (columns, rows)) return false;
            changed(columns, rows);
            return true;
        }
    }
}
