namespace Vmm.Core.Execution;

/// <summary>
/// The gate that every vCPU thread of a machine passes before each <see cref="Backends.IVcpu.Run"/>. Its races, once for all:
/// <list type="bullet">
/// <item>A request (close, shut) is published before the kick that carries it, and a thread reads the request after each return
/// of Run. A kick that finds the thread between the gate and Run is kept by the backend and ends that Run at once; one that
/// was served by an earlier return finds the thread on its way to the gate. So no request waits for a second kick.</item>
/// <item>A thread counts as inside from the moment it is let through until it has parked or left, not while it is in Run. It
/// counts itself out under the lock, before it waits; so "nobody inside" means that no thread is in Run, in device code called
/// from there, or about to be.</item>
/// <item>Open followed by close before a parked thread woke leaves that thread parked: it was never counted in.</item>
/// <item>Shut is final and wins over everything. Whoever brings the number inside to zero after it, or shuts with nobody inside,
/// calls the end exactly once.</item>
/// <item>A wait for an interrupt (see <see cref="VcpuRunner"/>) counts as inside; each request wakes it.</item>
/// </list>
/// </summary>
/// <param name="ended">Called once, without a lock held, when the gate is shut and nobody is inside.</param>
internal sealed class VcpuGate(Action ended)
{
    private const int Open = 0, Closed = 1, Shut = 2;

    private readonly object _lock = new();
    private int _request = Closed;
    private int _inside;
    private bool _endCalled;
    private TaskCompletionSource? _emptied;

    /// <summary>Whether a vCPU thread shall come out of Run: the gate is not open.</summary>
    public bool IsOpen => Volatile.Read(ref _request) == Open;

    /// <summary>Counts threads in that are about to start. Before any of them calls <see cref="Enter"/>.</summary>
    public void Admit(int threads)
    {
        lock (_lock) _inside += threads;
    }

    /// <summary>Takes back threads that were admitted and could not be started.</summary>
    public void Withdraw(int threads) => CountOut(threads);

    /// <summary>Called by a vCPU thread before each run; blocks while the gate is closed.</summary>
    /// <returns>False when the machine has ended: the thread has left and runs no more.</returns>
    public bool Enter() => IsOpen || EnterSlow();

    /// <summary>Lets the vCPUs through.</summary>
    public void Release()
    {
        lock (_lock)
        {
            if (_request == Closed) Volatile.Write(ref _request, Open);
            _emptied = null;
            Monitor.PulseAll(_lock);
        }
    }

    /// <summary>Holds the vCPUs back. The caller kicks them afterwards.</summary>
    /// <returns>Completes when nobody is inside.</returns>
    public Task Close()
    {
        lock (_lock)
        {
            if (_request == Open) Volatile.Write(ref _request, Closed);
            if (_inside == 0) return Task.CompletedTask;
            return (_emptied ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
        }
    }

    /// <summary>Sends the vCPU threads home. The caller kicks them afterwards.</summary>
    public void ShutDown()
    {
        lock (_lock)
        {
            Volatile.Write(ref _request, Shut);
            Monitor.PulseAll(_lock);
        }

        CountOut(0);
    }

    private bool EnterSlow()
    {
        lock (_lock)
        {
            if (_request == Open) return true;
        }

        CountOut(1);
        lock (_lock)
        {
            while (_request == Closed) Monitor.Wait(_lock);
            if (_request == Shut) return false;
            _inside++;
            return true;
        }
    }

    private void CountOut(int threads)
    {
        bool end;
        lock (_lock)
        {
            _inside -= threads;
            if (_inside == 0) _emptied?.TrySetResult();
            end = _inside == 0 && _request == Shut && !_endCalled;
            _endCalled |= end;
        }

        if (end) ended();
    }
}
