using System.Runtime.InteropServices;

namespace Vmm.Cli.Terminal;

/// <summary>Turns the signals that ask a process to end into a task, so that the guest is killed and the terminal restored first.</summary>
internal sealed class TerminationSignals : IDisposable
{
    private readonly TaskCompletionSource _received = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _cancelled = new();
    private readonly PosixSignalRegistration[] _registrations;

    public TerminationSignals()
    {
        PosixSignal[] signals = [PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP, PosixSignal.SIGQUIT];
        _registrations = [.. signals.Select(s => PosixSignalRegistration.Create(s, OnSignal))];
    }

    /// <summary>Completes at the first signal.</summary>
    public Task Received => _received.Task;

    /// <summary>Is cancelled at the first signal.</summary>
    public CancellationToken Token => _cancelled.Token;

    public void Dispose()
    {
        foreach (var registration in _registrations) registration.Dispose();
        _cancelled.Dispose();
    }

    private void OnSignal(PosixSignalContext context)
    {
        // The second one is for a process that does not get to its end by the first.
        if (!_received.TrySetResult()) return;
        context.Cancel = true;
        try
        {
            _cancelled.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // The run has just ended.
        }
    }
}
