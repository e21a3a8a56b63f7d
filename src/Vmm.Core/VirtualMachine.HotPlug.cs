using Vmm.Core.Boards;
using Vmm.Core.Devices;

namespace Vmm.Core;

public sealed partial class VirtualMachine
{
    // Devices that the guest has let go of and that are not freed yet. Guarded by _sync.
    private readonly List<(string Name, IDevice Device)> _leaving = [];

    /// <summary>
    /// Plugs devices into the machine, as <see cref="VirtualMachineBuilder.AddPart"/> does while it is built. The vCPUs stand still meanwhile; the
    /// guest is told when its bus has a way to. Of a part that fails nothing stays.
    /// </summary>
    /// <param name="part">Makes devices and adds them; runs once, on any thread. What it throws comes out of this method.</param>
    /// <param name="cancellationToken">Cancels the wait for the vCPUs; nothing was plugged then.</param>
    /// <exception cref="ArgumentException">A name or place is taken.</exception>
    /// <exception cref="InvalidOperationException">The machine has ended, or has no place left for the device.</exception>
    /// <exception cref="ObjectDisposedException">The machine is disposed.</exception>
    public async Task PlugAsync(Action<MachineContext> part, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(part);
        await _operations.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await StandStillAsync(
                () =>
                {
                    lock (_sync)
                    {
                        if (_state is not (MachineState.Created or MachineState.Running or MachineState.Paused)) throw WrongState("given a device", "");
                    }

                    Plug(part);
                },
                cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _operations.Release();
        }
    }

    /// <summary>
    /// Asks the guest to let go of a device, waits until it has, and frees it; devices that share its slot go with it. Of a machine that was
    /// not started it is taken at once. A guest may also let go by itself, without being asked: the device is then freed likewise.
    /// </summary>
    /// <param name="name">The name the device was added with.</param>
    /// <param name="timeout">How long the guest may take, on the machine's <see cref="TimeProvider"/>; <see cref="Timeout.InfiniteTimeSpan"/> for any time. A paused machine does nothing.</param>
    /// <param name="cancellationToken">Cancels the wait; the device is where it was, and the request withdrawn.</param>
    /// <returns>Whether the device has gone.</returns>
    /// <exception cref="ArgumentException">There is no such device.</exception>
    /// <exception cref="InvalidOperationException">The device is not in a slot that it can leave.</exception>
    /// <exception cref="ObjectDisposedException">The machine is disposed.</exception>
    public async Task<UnplugResult> UnplugAsync(string name, TimeSpan timeout, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        ObjectDisposedException.ThrowIf(State == MachineState.Disposed, this);
        var device = Context.Devices.FirstOrDefault(d => d.Name == name).Device ?? throw new ArgumentException($"There is no device called '{name}' in the machine '{Name}'.", nameof(name));
        var slot = Context.SlotOf(device) ?? throw new InvalidOperationException($"The device '{name}' is a fixed part of the machine and cannot be unplugged.");
        var gone = Context.WhenGone(device);
        if (await TakeUnstartedAsync(slot, device, cancellationToken).ConfigureAwait(false)) return UnplugResult.Unplugged;

        slot.RequestEject();
        try
        {
            var first = await Task.WhenAny(gone, _completion.Task).WaitAsync(timeout, _time, cancellationToken).ConfigureAwait(false);
            return first == gone ? UnplugResult.Unplugged : UnplugResult.MachineEnded;
        }
        catch (Exception e) when (e is TimeoutException or OperationCanceledException)
        {
            slot.WithdrawEject();
            if (e is OperationCanceledException) throw;
            if (Context.SlotOf(device) is not null) return UnplugResult.TimedOut;

            // The guest has let go at the last moment: what is left is ours to do.
            return await Task.WhenAny(gone, _completion.Task).ConfigureAwait(false) == gone ? UnplugResult.Unplugged : UnplugResult.MachineEnded;
        }
    }

    /// <summary>A device has left its bus. Any thread, with locks of device code held: it is freed when no vCPU can be in it any more.</summary>
    private void OnEjected(string name, IDevice device)
    {
        lock (_sync) _leaving.Add((name, device));
        _ = FreeEjectedAsync(name, device);
    }

    private async Task FreeEjectedAsync(string name, IDevice device)
    {
        // Forced onto the pool: the caller is a vCPU in the middle of an instruction.
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        await _operations.WaitAsync().ConfigureAwait(false);
        try
        {
            var isOurs = false;
            await StandStillAsync(
                () =>
                {
                    // Of a machine that has ended everything is freed together.
                    lock (_sync) isOurs = _state is not (MachineState.Ended or MachineState.Disposed) && _leaving.Remove((name, device));
                },
                CancellationToken.None).ConfigureAwait(false);
            if (!isOurs) return;

            // No vCPU is in it and nothing calls it any more; a timer or an inlet that had begun to do so ends with the lock.
            Monitor.Enter(device);
            Monitor.Exit(device);
            FreePart(name, device as IDisposable);
            Context.Gone(device);
        }
        finally
        {
            _operations.Release();
        }
    }

    private async Task<bool> TakeUnstartedAsync(IDeviceSlot slot, IDevice device, CancellationToken cancellationToken)
    {
        await _operations.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (State != MachineState.Created || Context.SlotOf(device) is null) return false;
            Take(slot, device);
            return true;
        }
        finally
        {
            _operations.Release();
        }
    }

    private void Take(IDeviceSlot? slot, IDevice device)
    {
        slot?.Detach();
        if (Context.Forget(device) is { } name) FreePart(name, device as IDisposable);
        Context.Gone(device);
    }

    private void Plug(Action<MachineContext> part)
    {
        var before = Context.Devices.Count;
        try
        {
            part(Context);
            foreach (var (_, device) in Context.Devices.Skip(before))
            {
                lock (device) device.Reset();
            }
        }
        catch
        {
            foreach (var (_, device) in Context.Devices.Skip(before).Reverse().ToList()) Take(Context.SlotOf(device), device);
            throw;
        }
    }

    /// <summary>Does something while no vCPU is in Run or in device code called from there. The caller has the operations' turn.</summary>
    private async Task StandStillAsync(Action action, CancellationToken cancellationToken)
    {
        Task parked;
        lock (_sync) parked = _state == MachineState.Running ? _gate.Close() : Task.CompletedTask;
        try
        {
            if (!parked.IsCompleted)
            {
                KickAll();
                await parked.WaitAsync(cancellationToken).ConfigureAwait(false);
            }

            action();
        }
        finally
        {
            lock (_sync)
            {
                if (_state == MachineState.Running) _gate.Release();
            }
        }
    }

    /// <summary>Takes over what the guest has let go of and nobody has freed yet. The machine is being freed.</summary>
    private void FreeLeaving()
    {
        while (true)
        {
            (string Name, IDevice Device) left;
            lock (_sync)
            {
                if (_leaving.Count == 0) return;
                left = _leaving[^1];
                _leaving.RemoveAt(_leaving.Count - 1);
            }

            FreePart(left.Name, left.Device as IDisposable);
        }
    }
}
