using Vmm.Core.Telemetry;

namespace Vmm.Core;

public sealed partial class VirtualMachine
{
    // Start, pause and resume take turns by _operations; the end of the machine (by guest, host or failure) overtakes them. _sync
    // guards the state and is never held while device code runs.
    private readonly Lock _sync = new();
#pragma warning disable CA2213 // A semaphore without a wait handle has nothing to free, and operations may still be waiting for it when the machine is disposed.
    private readonly SemaphoreSlim _operations = new(1, 1);
#pragma warning restore CA2213
    private readonly TaskCompletionSource _freed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private MachineState _state = MachineState.Created;
    private MachineExit? _exit;
    private bool _disposing;

    /// <summary>Where it is in its life.</summary>
    public MachineState State
    {
        get
        {
            lock (_sync) return _state;
        }
    }

    /// <summary>Starts the vCPUs.</summary>
    /// <param name="cancellationToken">Cancels before anything has begun.</param>
    /// <exception cref="InvalidOperationException">It was started already, or has ended.</exception>
    /// <exception cref="ObjectDisposedException">The machine is disposed.</exception>
    public async Task StartAsync(CancellationToken cancellationToken = default)
    {
        await _operations.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            lock (_sync)
            {
                if (_state != MachineState.Created) throw WrongState("started", "Only a machine that was not started yet can be; build another one.");
                _state = MachineState.Running;
                _gate.Admit(_runners.Length);
                LetRun();
            }

            Timeline.Mark(BootTimeline.Started);
            _telemetry.BeginBoot();
            LogStarted(Name);
            if (!Clock.IsCounted) Inlets.Drain();
            StartThreads();
        }
        finally
        {
            _operations.Release();
        }
    }

    /// <summary>
    /// Brings the machine to rest: returns when no vCPU runs, the clock stands, and no timer callback or inlet delivery is under
    /// way; what is posted to inlets waits. Does nothing when it is paused already.
    /// </summary>
    /// <param name="cancellationToken">Cancels the wait for the vCPUs; the machine then runs on.</param>
    /// <exception cref="InvalidOperationException">It was not started, or has ended (or ends meanwhile).</exception>
    /// <exception cref="ObjectDisposedException">The machine is disposed.</exception>
    public async Task PauseAsync(CancellationToken cancellationToken = default)
    {
        using var span = MachineTelemetry.Span("vmm.pause", Name);
        await _operations.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            Task parked;
            lock (_sync)
            {
                if (_state == MachineState.Paused) return;
                if (_state != MachineState.Running) throw WrongState("paused", "Start it first.");
                parked = _gate.Close();
            }

            KickAll();
            try
            {
                await parked.WaitAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                lock (_sync)
                {
                    if (_state == MachineState.Running) _gate.Release();
                }

                throw;
            }

            lock (_sync)
            {
                if (_state != MachineState.Running) throw WrongState("paused", "It ended before it came to rest.");
                _state = MachineState.Paused;
                Clock.Pause();
                Inlets.Close();
            }

            await Task.WhenAll(Clock.WhenQuiet(), Inlets.WhenQuiet()).ConfigureAwait(false);
            LogPaused(Name, Clock.Now);
        }
        finally
        {
            _operations.Release();
        }
    }

    /// <summary>Goes on after a pause: the clock from where it stood, the vCPUs, and what waited at the inlets. Does nothing when it runs.</summary>
    /// <param name="cancellationToken">Cancels before anything has begun.</param>
    /// <exception cref="InvalidOperationException">It was not started, or has ended.</exception>
    /// <exception cref="ObjectDisposedException">The machine is disposed.</exception>
    public async Task ResumeAsync(CancellationToken cancellationToken = default)
    {
        await _operations.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            lock (_sync)
            {
                if (_state == MachineState.Running) return;
                if (_state != MachineState.Paused) throw WrongState("resumed", "Start it first.");
                _state = MachineState.Running;
                LetRun();
            }

            LogResumed(Name);
            if (!Clock.IsCounted) Inlets.Drain();
        }
        finally
        {
            _operations.Release();
        }
    }

    /// <summary>
    /// Asks the guest to power off, by its board's power button, and kills it when it has not after a time. A paused machine goes
    /// on, so that the guest can; one that was not started, or whose board has no power button, is killed at once.
    /// </summary>
    /// <param name="timeout">How long the guest may take, on the machine's <see cref="TimeProvider"/>; <see cref="Timeout.InfiniteTimeSpan"/> for any time.</param>
    /// <param name="cancellationToken">Cancels the wait; the guest runs on and has been asked.</param>
    /// <returns>How it ended; of a machine that had ended before, how it did then.</returns>
    /// <exception cref="ObjectDisposedException">The machine is disposed.</exception>
    public async Task<MachineExit> StopAsync(TimeSpan timeout, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        using var span = MachineTelemetry.Span("vmm.stop", Name);
        if (State == MachineState.Paused)
        {
            try
            {
                await ResumeAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (InvalidOperationException) when (Completion.IsCompleted)
            {
                // It ended in between: that is what was asked for.
            }
        }

        ObjectDisposedException.ThrowIf(State == MachineState.Disposed, this);
        if (State != MachineState.Running || !Context.PressPowerButton()) return await KillAsync().ConfigureAwait(false);
        try
        {
            return await Completion.WaitAsync(timeout, _time, cancellationToken).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            LogStopTimedOut(Name, timeout);
            return await KillAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Ends the machine as <see cref="MachineExitKind.Killed"/>, unless it has ended, and waits until it is at rest.</summary>
    /// <returns>How it ended.</returns>
    public Task<MachineExit> KillAsync()
    {
        End(new MachineExit(MachineExitKind.Killed));
        return Completion;
    }

    /// <summary>
    /// Kills the guest and frees everything; returns when that is done, whichever thread began it. Called from within a callback of
    /// the machine itself (device code, a timer, an inlet), it returns at once and the rest follows when the callback has returned.
    /// Idempotent.
    /// </summary>
    public void Dispose()
    {
        var isFirst = BeginDispose();
        if (!IsOwnThread)
        {
            // The end is signalled by the machine's own threads, so blocking here does not depend on a free pool thread.
            if (isFirst) FreeAfterEnd();
            _freed.Task.GetAwaiter().GetResult();
        }
        else if (isFirst)
        {
            _ = FreeAfterEndAsync();
        }
    }

    /// <summary>Kills the guest and frees everything; completes when that is done, whoever began it. Idempotent.</summary>
    public ValueTask DisposeAsync()
    {
        if (BeginDispose()) _ = FreeAfterEndAsync();
        return new ValueTask(_freed.Task);
    }

    /// <summary>Ends the machine. The first end counts. Any thread, with any lock of device code held.</summary>
    internal void End(MachineExit exit)
    {
        lock (_sync)
        {
            if (_exit is not null) return;
            _exit = exit;
            if (_state != MachineState.Disposed) _state = MachineState.Ended;
        }

        _gate.ShutDown();
        KickAll();
    }

    private bool IsOwnThread => Clock.IsFiringHere || Inlets.IsDeliveringHere || Array.Exists(_runners, r => r.IsCurrentThread);

    private bool BeginDispose()
    {
        End(new MachineExit(MachineExitKind.Killed));
        lock (_sync)
        {
            _state = MachineState.Disposed;
            if (_disposing) return false;
            _disposing = true;
            return true;
        }
    }

    private void FreeAfterEnd()
    {
        _completion.Task.GetAwaiter().GetResult();

        // An operation that has begun (reading state at rest, say) still uses what is about to be freed.
        _operations.Wait();
        Free();
        _operations.Release();
        _freed.SetResult();
    }

    private async Task FreeAfterEndAsync()
    {
        // Forced onto the pool: the caller may be a thread of the machine, which Free waits for.
        await _completion.Task.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        await _operations.WaitAsync().ConfigureAwait(false);
        Free();
        _operations.Release();
        _freed.SetResult();
    }

    private void LetRun()
    {
        Clock.Resume();
        Inlets.Open();
        _gate.Release();
    }

    private void StartThreads()
    {
        for (var i = 0; i < _runners.Length; i++)
        {
            try
            {
                _runners[i].Start();
            }
            catch (Exception e)
            {
                _gate.Withdraw(_runners.Length - i);
                Fail(e);
                return;
            }
        }
    }

    /// <summary>The gate is shut and nobody is inside; called once.</summary>
    private void OnVcpusGone()
    {
        Clock.Pause();
        Inlets.Close();
        var quiet = Task.WhenAll(Clock.WhenQuiet(), Inlets.WhenQuiet());
        if (quiet.IsCompleted) Complete();
        else _ = CompleteWhen(quiet);
    }

    private async Task CompleteWhen(Task quiet)
    {
        await quiet.ConfigureAwait(false);
        Complete();
    }

    private void Complete()
    {
        ReportEnd(_exit!);
        _completion.TrySetResult(_exit!);
    }

    private InvalidOperationException WrongState(string verb, string mend) => _state switch
    {
        MachineState.Disposed => new ObjectDisposedException(nameof(VirtualMachine), $"The machine '{Name}' is disposed and cannot be {verb}."),
        MachineState.Ended => new InvalidOperationException($"The machine '{Name}' has ended ({_exit!.Kind}) and cannot be {verb}."),
        _ => new InvalidOperationException($"The machine '{Name}' is {_state} and cannot be {verb}. {mend}"),
    };
}
