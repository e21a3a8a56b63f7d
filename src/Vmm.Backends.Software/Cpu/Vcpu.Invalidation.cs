namespace Vmm.Backends.Software.Cpu;

/// <summary>
/// Drops of decoded code and of write permissions that other threads ask for. A request is served at the next block end, or
/// before the processor next runs. Where the asker must know that no more direct writes happen (it is about to decode a
/// page), it waits, serving its own requests meanwhile so that two processors can wait for each other.
/// </summary>
internal sealed partial class Vcpu
{
    // A processor that is halted for long does not serve them.
    private const int MostRequests = 4096;

    private readonly Lock _requests = new();
    private readonly List<(ulong Gpa, ulong Granules)> _dropCode = [];
    private readonly List<ulong> _givenUp = [];
    private readonly List<(int View, ulong Rip)> _dropTargets = [];
    private bool _dropWrites;
    private volatile bool _flushAll, _leave;
    private int _served;
    private int _asked;

    /// <summary>Whether a thread is inside <see cref="Run"/> and may be writing through its TLB.</summary>
    private volatile bool _inside;

    /// <summary>Whether it has not yet done all that it was asked for.</summary>
    public bool HasRequests => _flushAll || _leave || Volatile.Read(ref _served) != Volatile.Read(ref _asked);

    /// <summary>Whether it has come by its run loop since it was asked to leave translated code or to drop everything, or will before it runs any.</summary>
    public bool HasLeft => !(_flushAll || _leave) || !_inside;

    /// <summary>Asks for what was decoded of some granules of a page to be dropped.</summary>
    public void RequestDrop(ulong gpa, ulong granules, List<(int View, ulong Rip)> targets)
    {
        lock (_requests)
        {
            _dropCode.Add((gpa, granules));
            _dropTargets.AddRange(targets);
            _asked++;
            DropAllIfMany();
        }

        Signal(EventInvalidate);
    }

    /// <summary>Asks for a target of code that was translated to be looked for anew.</summary>
    public void RequestDropOfTarget(int view, ulong rip)
    {
        lock (_requests)
        {
            _dropTargets.Add((view, rip));
            _asked++;
            DropAllIfMany();
        }

        Signal(EventInvalidate);
    }

    /// <summary>Asks for translated code to be left, and all that leads there to be forgotten.</summary>
    public void RequestLeaving()
    {
        lock (_requests) _leave = true;
        Signal(EventInvalidate);
    }

    /// <summary>Asks, on the processor's own thread, for all code of a page to be dropped at the end of the block.</summary>
    public void RequestGivingUp(ulong gpa)
    {
        _givenUp.Add(gpa);
        Signal(EventInvalidate);
    }

    /// <summary>Asks for write permissions to be dropped.</summary>
    public void RequestDropOfWrites()
    {
        lock (_requests)
        {
            _dropWrites = true;
            _asked++;
        }

        Signal(EventInvalidate);
    }

    /// <summary>Asks for everything cached to be dropped: the memory map changed.</summary>
    public void RequestFullFlush()
    {
        lock (_requests) _flushAll = true;
        Signal(EventInvalidate);
    }

    /// <summary>Returns when this processor can no longer write to a host page without being seen.</summary>
    public void WaitForInvalidation(Vcpu by, nint hostPage)
    {
        int ticket;
        lock (_requests)
        {
            _dropWrites = true;
            ticket = ++_asked;
        }

        Signal(EventInvalidate);
        // SpinWait yields the core to the other processor's thread when it has to.
        var spin = new SpinWait();
        while (_inside && Volatile.Read(ref _served) - ticket < 0)
        {
            if ((Volatile.Read(ref by.S.Events) & EventInvalidate) != 0) by.ServeInvalidations(waiting: true);
            spin.SpinOnce(sleep1Threshold: -1);
        }
    }

    private void DropAllIfMany()
    {
        if (_dropCode.Count + _dropTargets.Count < MostRequests) return;
        _dropCode.Clear();
        _dropTargets.Clear();
        _flushAll = true;
    }

    // Within a wait the block being executed must survive, and perhaps translated code below it: what is asked of all of them is left for the next block end.
    private void ServeInvalidations(bool waiting = false)
    {
        lock (_requests)
        {
            if (waiting && (_flushAll || _leave))
            {
                Signal(EventInvalidate);
            }
            else if (_flushAll || _leave)
            {
                _executor?.Forget();
                if (_flushAll)
                {
                    _lastRegion = null;
                    _tlb.FlushAll();
                    _blocks.Clear();
                }

                _flushAll = _leave = false;
            }

            if (_dropWrites) _tlb.FlushWrites(0);
            _dropWrites = false;
            foreach (var (gpa, granules) in _dropCode) _blocks.Drop(gpa, granules);
            _dropCode.Clear();
            DropTargets(_dropTargets);
            _dropTargets.Clear();
            Volatile.Write(ref _served, _asked);
        }

        if (_givenUp.Count == 0) return;
        if (waiting)
        {
            Signal(EventInvalidate);
            return;
        }

        foreach (var gpa in _givenUp) Partition.GiveUp(this, gpa);
        _givenUp.Clear();
    }
}
