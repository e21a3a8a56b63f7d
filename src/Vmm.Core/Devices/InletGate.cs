namespace Vmm.Core.Devices;

/// <summary>All of a machine's inlets pass here, in one order: open while it runs, holding back while it is paused.</summary>
internal sealed class InletGate
{
    private readonly Lock _lock = new();
    private readonly Queue<Action> _waiting = [];
    private bool _open;
    private bool _delivering;

    public void Post(Action delivery)
    {
        lock (_lock) _waiting.Enqueue(delivery);
        Drain();
    }

    public void Open()
    {
        lock (_lock) _open = true;
        Drain();
    }

    public void Close()
    {
        lock (_lock) _open = false;
    }

    // One thread delivers at a time; a thread that finds another delivering leaves its item to that one.
    private void Drain()
    {
        while (true)
        {
            Action delivery;
            lock (_lock)
            {
                if (!_open || _delivering || _waiting.Count == 0) return;
                delivery = _waiting.Dequeue();
                _delivering = true;
            }

            try
            {
                delivery();
            }
            finally
            {
                lock (_lock) _delivering = false;
            }
        }
    }
}
