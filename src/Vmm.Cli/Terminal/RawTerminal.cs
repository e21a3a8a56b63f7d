using System.Runtime.InteropServices;
using Vmm.Cli.Interop.Unix;
using Vmm.Cli.Interop.Windows;

namespace Vmm.Cli.Terminal;

/// <summary>
/// Gives the guest the user's terminal as it is: each key at once, none for the host. Disposing gives it back; so do the process's
/// end and its crash, as far as .NET hears of it.
/// </summary>
internal sealed class RawTerminal : IDisposable
{
    private readonly Action _restore;
    private readonly PosixSignalRegistration? _continued;
    private int _restored;

    private RawTerminal(Action enter, Action restore)
    {
        _restore = restore;
        AppDomain.CurrentDomain.ProcessExit += OnProcessEnd;
        AppDomain.CurrentDomain.UnhandledException += OnProcessEnd;

        // While the process was stopped the shell had the terminal, with settings of its own.
        if (!OperatingSystem.IsWindows()) _continued = PosixSignalRegistration.Create(PosixSignal.SIGCONT, _ => enter());
        enter();
    }

    /// <summary>Takes the terminal of standard input; null where there is none.</summary>
    public static RawTerminal? Enter()
    {
        if (OperatingSystem.IsWindows())
        {
            return ConsoleModes.Get() is { } modes ? new RawTerminal(() => ConsoleModes.Set(ConsoleModes.MakeRaw(modes)), () => ConsoleModes.Set(modes)) : null;
        }

        return Termios.Get() is { } settings ? new RawTerminal(() => Termios.Set(Termios.MakeRaw(settings)), () => Termios.Set(settings)) : null;
    }

    public void Dispose()
    {
        if (Interlocked.Exchange(ref _restored, 1) != 0) return;
        _continued?.Dispose();
        AppDomain.CurrentDomain.ProcessExit -= OnProcessEnd;
        AppDomain.CurrentDomain.UnhandledException -= OnProcessEnd;
        _restore();
    }

    private void OnProcessEnd(object? sender, EventArgs e) => Dispose();
}
