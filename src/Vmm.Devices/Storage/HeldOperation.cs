using System.Runtime.CompilerServices;
using System.Threading.Tasks.Sources;

namespace Vmm.Devices.Storage;

/// <summary>
/// A request to another store, for whose time a range is locked; used again and again, so that requests allocate nothing however many are under way: what
/// the runtime keeps of asynchronous methods' state is a handful.
/// </summary>
internal sealed class HeldOperation : IValueTaskSource
{
    private readonly OperationPool<HeldOperation> _pool;
    private readonly Action _continue;
    private ManualResetValueTaskSourceCore<bool> _core;
    private ValueTaskAwaiter _awaiter;
    private RangeLocks.Hold _hold;

    public HeldOperation(OperationPool<HeldOperation> pool) => (_pool, _continue) = (pool, Continue);

    /// <summary>Completes when the request does, and the lock is released.</summary>
    public ValueTask Await(RangeLocks.Hold hold, ValueTask request)
    {
        (_hold, _awaiter) = (hold, request.GetAwaiter());
        var token = _core.Version;
        if (_awaiter.IsCompleted) Continue();
        else _awaiter.UnsafeOnCompleted(_continue);
        return new ValueTask(this, token);
    }

    void IValueTaskSource.GetResult(short token)
    {
        try
        {
            _core.GetResult(token);
        }
        finally
        {
            _core.Reset();
            _pool.Return(this);
        }
    }

    ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _core.GetStatus(token);

    void IValueTaskSource.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) => _core.OnCompleted(continuation, state, token, flags);

    private void Continue()
    {
        var (awaiter, hold) = (_awaiter, _hold);
        (_awaiter, _hold) = (default, default);
        Exception? error = null;
        try
        {
            awaiter.GetResult();
        }
        catch (Exception e)
        {
            error = e;
        }

        hold.Dispose();

        // What follows may use this object again.
        if (error is null) _core.SetResult(true);
        else _core.SetException(error);
    }
}
