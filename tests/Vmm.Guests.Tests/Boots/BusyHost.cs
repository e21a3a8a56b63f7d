namespace Vmm.Guests.Tests.Boots;

/// <summary>Threads that compute for nothing, so that the guest gets only a part of the host.</summary>
internal sealed class BusyHost : IDisposable
{
    private readonly Thread[] _threads;
    private volatile bool _stop;

    public BusyHost(int threads)
    {
        _threads = [.. Enumerable.Range(0, threads).Select(_ => new Thread(Spin) { IsBackground = true })];
        foreach (var thread in _threads) thread.Start();
    }

    public void Dispose()
    {
        _stop = true;
        foreach (var thread in _threads) thread.Join();
    }

    private void Spin()
    {
        while (!_stop) Thread.SpinWait(1000);
    }
}
