using System.Diagnostics;

namespace Vmm.Core.Time;

/// <summary>
/// The one clock of a machine, from which PIT, RTC, PM timer, APIC timers and TSC all take their time, so that they can
/// never disagree. It counts nanoseconds from power-on and stands still while the machine is paused. In real time a worker
/// thread fires timers; in counted time the vCPU does, when it has retired enough instructions. Thread-safe.
/// </summary>
public sealed class VmClock : IDisposable
{
    /// <summary>The frequency of the guest's TSC, in Hz: one tick a nanosecond, so that conversions are exact.</summary>
    public const long TscFrequency = 1_000_000_000;

    private readonly Lock _lock = new();
    private readonly List<VmTimer> _armed = [];
    private readonly TimeProvider _time;
    private readonly DateTimeOffset _epoch;
    private long _nextDeadline = long.MaxValue;
    private long _stoppedAt;
    private long _base;
    private bool _running;
    private bool _disposed;
    private Thread? _thread;
    private readonly AlarmSignal _signal = new();

    /// <summary>Makes a clock that stands at zero.</summary>
    /// <param name="time">The host's time: calendar at power-on and, in real time, the rate.</param>
    /// <param name="nanosecondsPerInstruction">Zero for real time; else guest time is the count of retired instructions times this.</param>
    public VmClock(TimeProvider time, int nanosecondsPerInstruction = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(nanosecondsPerInstruction);
        _time = time;
        _epoch = time.GetUtcNow();
        NanosecondsPerInstruction = nanosecondsPerInstruction;
    }

    /// <summary>Zero in real time; in counted time how far one instruction moves the clock.</summary>
    public int NanosecondsPerInstruction { get; }

    /// <summary>Whether the vCPU drives this clock by <see cref="Advance"/>.</summary>
    public bool IsCounted => NanosecondsPerInstruction != 0;

    /// <summary>Nanoseconds of guest time since power-on.</summary>
    public long Now
    {
        get
        {
            if (IsCounted || !Volatile.Read(ref _running)) return Volatile.Read(ref _stoppedAt);
            return HostNanoseconds() - Volatile.Read(ref _base);
        }
    }

    /// <summary>The guest's calendar time, in UTC.</summary>
    public DateTimeOffset UtcNow => _epoch.AddTicks(Now / 100);

    /// <summary>The earliest armed deadline in nanoseconds, or <see cref="long.MaxValue"/>.</summary>
    public long NextDeadline => Volatile.Read(ref _nextDeadline);

    /// <summary>Makes a disarmed timer.</summary>
    /// <param name="gate">The lock held around the callback: the device.</param>
    /// <param name="callback">What to do; it may arm the timer again.</param>
    public VmTimer CreateTimer(object gate, Action callback) => new(this, gate, callback);

    /// <summary>Lets time pass.</summary>
    public void Resume()
    {
        lock (_lock)
        {
            if (_running || _disposed) return;
            _base = HostNanoseconds() - _stoppedAt;
            Volatile.Write(ref _running, true);
            StartWorker();
        }

        _signal.Set();
    }

    /// <summary>Stops time. A timer callback that has begun may still finish.</summary>
    public void Pause()
    {
        lock (_lock)
        {
            if (!_running) return;
            if (!IsCounted) Volatile.Write(ref _stoppedAt, HostNanoseconds() - _base);
            Volatile.Write(ref _running, false);
        }
    }

    /// <summary>Sets a stopped clock, when state is loaded.</summary>
    /// <param name="nanoseconds">The new value of <see cref="Now"/>.</param>
    /// <exception cref="InvalidOperationException">The clock runs.</exception>
    public void SetTo(long nanoseconds)
    {
        lock (_lock)
        {
            if (_running) throw new InvalidOperationException("The clock runs; pause the machine before setting its time.");
            Volatile.Write(ref _stoppedAt, nanoseconds);
        }
    }

    /// <summary>Counted time only: moves the clock and fires what has come due, on the calling vCPU thread.</summary>
    /// <param name="to">The new value in nanoseconds; an earlier one than <see cref="Now"/> moves nothing.</param>
    public void Advance(long to)
    {
        if (to > _stoppedAt) Volatile.Write(ref _stoppedAt, to);
        if (NextDeadline <= _stoppedAt) FireDue(_stoppedAt);
    }

    /// <summary>Stops the worker; timers fire no more.</summary>
    public void Dispose()
    {
        Pause();
        lock (_lock) _disposed = true;
        _signal.Set();
        if (_thread is { } thread && thread != Thread.CurrentThread) thread.Join();
        _signal.Dispose();
    }

    internal void Set(VmTimer timer, long deadline)
    {
        bool sooner;
        lock (_lock)
        {
            if (timer.Deadline == deadline) return;
            if (timer.Deadline == long.MaxValue) _armed.Add(timer);
            timer.Deadline = deadline;
            if (deadline == long.MaxValue) _armed.Remove(timer);
            var next = long.MaxValue;
            foreach (var armed in _armed) next = Math.Min(next, armed.Deadline);
            sooner = next < _nextDeadline;
            Volatile.Write(ref _nextDeadline, next);
            if (sooner) StartWorker();
        }

        if (sooner && !IsCounted) _signal.Set();
    }

    private void StartWorker()
    {
        if (IsCounted || !_running || _armed.Count == 0 || _thread is not null || _disposed) return;
        _thread = new Thread(static clock => ((VmClock)clock!).Work()) { IsBackground = true, Name = "vmm-clock" };
        _thread.Start(this);
    }

    private long HostNanoseconds() =>
        _time == TimeProvider.System
            ? (long)(Stopwatch.GetTimestamp() * (1_000_000_000.0 / Stopwatch.Frequency))
            : (long)_time.GetElapsedTime(0).TotalNanoseconds;

    private void Work()
    {
        while (!Volatile.Read(ref _disposed))
        {
            var now = Now;
            var next = NextDeadline;
            if (!Volatile.Read(ref _running) || next == long.MaxValue) _signal.Wait(long.MaxValue);
            else if (next > now) _signal.Wait(next - now);
            else FireDue(now);
        }
    }

    private void FireDue(long now)
    {
        while (true)
        {
            VmTimer? due = null;
            lock (_lock)
            {
                foreach (var timer in _armed)
                {
                    if (timer.Deadline <= now && (due is null || timer.Deadline < due.Deadline)) due = timer;
                }
            }

            if (due is null) return;
            due.FireIfDue(now);
        }
    }
}
