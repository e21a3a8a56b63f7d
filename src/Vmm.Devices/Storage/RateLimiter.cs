namespace Vmm.Devices.Storage;

/// <summary>
/// Two token buckets, for bytes and for requests, that requests pass in the order they came. A request passes when both hold something,
/// and may leave them in debt, so that one larger than the burst passes too.
/// </summary>
public sealed class RateLimiter : IDisposable
{
    private readonly Lock _lock = new();
    private readonly TimeProvider _time;
    private readonly ITimer _timer;
    private readonly Queue<(long Bytes, TaskCompletionSource Passed)> _waiting = [];
    private RateLimit _limit;
    private double _bytes, _operations;
    private long _filled;
    private bool _isDisposed;
    private volatile bool _isIdle;

    /// <summary>Makes full buckets.</summary>
    /// <param name="limit">The limit.</param>
    /// <param name="time">The clock; null for the host's.</param>
    public RateLimiter(RateLimit limit, TimeProvider? time = null)
    {
        limit.Check();
        (_limit, _time) = (limit, time ?? TimeProvider.System);
        (_bytes, _operations, _filled) = (limit.ByteBucket, limit.OperationBucket, _time.GetTimestamp());
        _isIdle = limit == RateLimit.None;
        _timer = _time.CreateTimer(static limiter => ((RateLimiter)limiter!).Release(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>The limit. A new one holds at once, for requests that wait as well.</summary>
    public RateLimit Limit
    {
        get
        {
            lock (_lock) return _limit;
        }

        set
        {
            value.Check();
            lock (_lock)
            {
                Fill();
                _limit = value;
                Clamp();
                _isIdle = value == RateLimit.None && !_isDisposed;
            }

            Release();
        }
    }

    /// <summary>Requests that wait now.</summary>
    public int Waiting
    {
        get
        {
            lock (_lock) return _waiting.Count;
        }
    }

    /// <summary>Completes when a request may begin.</summary>
    /// <param name="bytes">The bytes that it moves.</param>
    public ValueTask WaitAsync(long bytes)
    {
        if (_isIdle) return default;
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            Fill();
            if (_waiting.Count == 0 && TryTake(bytes)) return default;
            var passed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _waiting.Enqueue((bytes, passed));
            if (_waiting.Count == 1) Arm();
            return new ValueTask(passed.Task);
        }
    }

    /// <summary>Lets every request that waits fail with <see cref="ObjectDisposedException"/>.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _isDisposed = true;
            _isIdle = false;
            _timer.Dispose();
            while (_waiting.TryDequeue(out var waiter)) waiter.Passed.SetException(new ObjectDisposedException(nameof(RateLimiter)));
        }
    }

    private void Release()
    {
        lock (_lock)
        {
            if (_isDisposed) return;
            Fill();
            while (_waiting.TryPeek(out var waiter) && TryTake(waiter.Bytes)) _waiting.Dequeue().Passed.SetResult();
            if (_waiting.Count > 0) Arm();
            else Clamp();
        }
    }

    private bool TryTake(long bytes)
    {
        if (_limit.BytesPerSecond is not null && _bytes <= 0) return false;

        // Half a request is none; the slack is for the rounding of many small refills.
        if (_limit.OperationsPerSecond is not null && _operations < 1 - 1e-6) return false;
        if (_limit.BytesPerSecond is not null) _bytes -= bytes;
        if (_limit.OperationsPerSecond is not null) _operations--;
        return true;
    }

    private void Fill()
    {
        var now = _time.GetTimestamp();
        var seconds = _time.GetElapsedTime(_filled, now).TotalSeconds;
        _filled = now;
        _bytes += seconds * _limit.BytesPerSecond.GetValueOrDefault();
        _operations += seconds * _limit.OperationsPerSecond.GetValueOrDefault();

        // A timer that is late must not cost those who wait what they are due.
        if (_waiting.Count == 0) Clamp();
    }

    private void Clamp() => (_bytes, _operations) = (Math.Min(_bytes, _limit.ByteBucket), Math.Min(_operations, _limit.OperationBucket));

    private void Arm()
    {
        double seconds = 0;
        if (_limit.BytesPerSecond is { } bytes && _bytes <= 0) seconds = (1 - _bytes) / bytes;
        if (_limit.OperationsPerSecond is { } operations && _operations < 1) seconds = Math.Max(seconds, (1 - _operations) / operations);

        // Timers count milliseconds.
        _timer.Change(TimeSpan.FromMilliseconds(Math.Ceiling(Math.Min(seconds, 3600) * 1000)), Timeout.InfiniteTimeSpan);
    }
}
