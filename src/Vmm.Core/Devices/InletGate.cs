namespace Vmm.Core.Devices;

/// <summary>
/// All of a machine's inlets pass here, in one order: open while it runs, holding back while it is paused. In real time the
/// posting thread delivers, or the one that is delivering already. In counted time the vCPU does, between two runs, so that
/// nothing races with the guest: a post only kicks it.
/// </summary>
internal sealed class InletGate
{
    private readonly Lock _lock = new();
    private readonly Queue<Action> _waiting = [];
    private readonly Action? _kickVcpu;
    private readonly Action<Exception> _faulted;
    private bool _open;
    private Thread? _delivering;
    private TaskCompletionSource? _quiet;

    /// <summary>Makes a closed gate.</summary>
    /// <param name="faulted">Takes what a delivery throws.</param>
    /// <param name="kickVcpu">Counted time: brings the vCPU thread to <see cref="Drain"/>. Null in real time.</param>
    public InletGate(Action<Exception> faulted, Action? kickVcpu = null) => (_faulted, _kickVcpu) = (faulted, kickVcpu);

    /// <summary>Whether the calling thread is inside a delivery.</summary>
    public bool IsDeliveringHere => Volatile.Read(ref _delivering) == Thread.CurrentThread;

    /// <summary>Takes a delivery, and makes it at once where that is allowed.</summary>
    /// <param name="delivery">Makes the delivery, under the lock of its device.</param>
    /// <param name="device">The device's lock.</param>
    public void Post(Action delivery, object device)
    {
        lock (_lock) _waiting.Enqueue(delivery);
        if (_kickVcpu is not null) _kickVcpu();

        // Code of the device itself posts: it must not be called back in the middle of what it is doing.
        else if (Monitor.IsEntered(device)) ThreadPool.UnsafeQueueUserWorkItem(static gate => gate.Drain(), this, preferLocal: false);
        else Drain();
    }

    /// <summary>Allows deliveries; the caller drains afterwards, when it holds no lock.</summary>
    public void Open()
    {
        lock (_lock) _open = true;
    }

    /// <summary>Holds further deliveries back; one that has begun may still finish.</summary>
    public void Close()
    {
        lock (_lock) _open = false;
    }

    /// <summary>Completes when no delivery is under way. After <see cref="Close"/> none begins, so it stays so.</summary>
    public Task WhenQuiet()
    {
        lock (_lock)
        {
            if (_delivering is null) return Task.CompletedTask;
            return (_quiet ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
        }
    }

    /// <summary>Delivers what waits. One thread delivers at a time; a thread that finds another delivering leaves its items to that one.</summary>
    public void Drain()
    {
        while (true)
        {
            Action delivery;
            lock (_lock)
            {
                if (!_open || _delivering is not null || _waiting.Count == 0) return;
                delivery = _waiting.Dequeue();
                Volatile.Write(ref _delivering, Thread.CurrentThread);
            }

            try
            {
                delivery();
            }
            catch (Exception e)
            {
                _faulted(e);
            }
            finally
            {
                lock (_lock)
                {
                    Volatile.Write(ref _delivering, null);
                    _quiet?.TrySetResult();
                    _quiet = null;
                }
            }
        }
    }
}
