using Vmm.Backends.Kvm.Interop;
using Vmm.Core.Buses;

namespace Vmm.Backends.Kvm.Execution;

/// <summary>
/// The thread that rings a partition's doorbells when the kernel signals their eventfds. Whoever takes an event rings under the lock of
/// ringing; so one that gets that lock and finds no event left knows that nothing is under way. A device may add and remove doorbells
/// under its own lock, which ringing takes: so the list has another lock, and a doorbell may ring once after it was removed.
/// </summary>
internal sealed class DoorbellThread : IDisposable
{
    private readonly Lock _ringing = new();
    private readonly Lock _list = new();
    private readonly KvmFile _changed = KvmFile.CreateEvent();
    private readonly Thread _thread;
    private (Doorbell Bell, KvmFile File)[] _bells = [];
    private volatile bool _ends;

    public DoorbellThread()
    {
        _thread = new Thread(Work) { IsBackground = true, Name = "vmm-doorbells" };
        _thread.Start();
    }

    public void Add(Doorbell bell, KvmFile file)
    {
        lock (_list) _bells = [.. _bells, (bell, file)];
        _changed.SetEvent();
    }

    /// <summary>Takes a doorbell out.</summary>
    /// <returns>Its eventfd, which the caller frees; null if it was not there.</returns>
    public KvmFile? Remove(Doorbell bell)
    {
        KvmFile? file = null;
        lock (_list)
        {
            foreach (var (b, f) in _bells)
            {
                if (b == bell) file = f;
            }

            _bells = [.. _bells.Where(b => b.Bell != bell)];
        }

        _changed.SetEvent();
        return file;
    }

    /// <summary>Rings what is to be rung, on the calling thread.</summary>
    public void Settle()
    {
        lock (_ringing)
        {
            foreach (var (bell, file) in _bells)
            {
                if (IsRung(file)) bell.Ring();
            }
        }
    }

    public void Dispose()
    {
        _ends = true;
        _changed.SetEvent();
        if (Thread.CurrentThread != _thread) _thread.Join();
        foreach (var (_, file) in _bells) file.Dispose();
        _changed.Dispose();
    }

    private static bool IsRung(KvmFile file)
    {
        try
        {
            return file.TakeEvent();
        }
        catch (ObjectDisposedException)
        {
            return false; // removed meanwhile
        }
    }

    private void Work()
    {
        List<KvmFile> files = [];
        while (!_ends)
        {
            files.Clear();
            files.Add(_changed);
            foreach (var (_, file) in _bells) files.Add(file);

            EventWait.ForAny(files);
            _changed.TakeEvent();
            if (!_ends) Settle();
        }
    }
}
