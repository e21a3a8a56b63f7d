using System.Runtime.CompilerServices;

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
    private readonly List<VmTimer> _armed = new(8);
    private ConditionalWeakTable<object, object>? _forgotten;
    private readonly TimeProvider _time;
    private readonly bool _isSystemTime;
    private readonly DateTimeOffset _epoch;
    // The worker's; there is none before it.
    private AlarmSignal? _signal;
    private long _nextDeadline = long.MaxValue;
    private long _stoppedAt;
    private long _base;
    private bool _running;
    private bool _disposed;
    private Thread? _thread;
    private Thread? _firing;
    private TaskCompletionSource? _quiet;

    /// <summary>Makes a clock that stands at zero.</summary>
    /// <param name="time">The host's time: calendar at power-on and, in real time, the rate.</param>
    /// <param name="nanosecondsPerInstruction">Zero for real time; else guest time is the count of retired instructions times this.</param>
    public VmClock(TimeProvider time, int nanosecondsPerInstruction = 0)
    {
        ArgumentNullException.ThrowIfNull(time);
        ArgumentOutOfRangeException.ThrowIfNegative(nanosecondsPerInstruction);
        _time = time;
        _isSystemTime = time == TimeProvider.System;
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
            while (true)
            {
                // The base is read before and after the host's time: a pause and resume in between would make the clock jump.
                var origin = Volatile.Read(ref _base);
                if (IsCounted || !Volatile.Read(ref _running)) return Volatile.Read(ref _stoppedAt);
                var now = HostNanoseconds() - origin;
                if (Volatile.Read(ref _base) == origin) return now;
            }
        }
    }

    /// <summary>
    /// The host's monotonic time at which this clock would have stood at zero, in nanoseconds. Each pause moves it on by its length, so a
    /// backend whose time sources are the host's tells by it how far they must be set back.
    /// </summary>
    public long Origin => Volatile.Read(ref _base);

    /// <summary>The guest's calendar time, in UTC.</summary>
    public DateTimeOffset UtcNow => _epoch.AddTicks(Now / 100);

    /// <summary>The earliest armed deadline in nanoseconds, or <see cref="long.MaxValue"/>.</summary>
    public long NextDeadline => Volatile.Read(ref _nextDeadline);

    /// <summary>Takes what a timer callback throws, on the thread it was thrown on. Without it the exception passes through.</summary>
    internal Action<Exception>? Faulted { get; set; }

    /// <summary>Whether the calling thread is inside a timer callback of this clock.</summary>
    internal bool IsFiringHere => Volatile.Read(ref _firing) == Thread.CurrentThread;

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
            Volatile.Write(ref _base, HostNanoseconds() - _stoppedAt);
            Volatile.Write(ref _running, true);
            StartWorker();
        }

        _signal?.Set();
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

    /// <summary>
    /// Counted time only: moves the clock and fires what has come due, on the calling vCPU thread and in the order of the
    /// deadlines (of equal ones, in the order they were armed). A backend calls it at the latest when it has retired the
    /// instruction that reaches <see cref="NextDeadline"/>, and before any bus access whose device may ask for the time; the run
    /// loop calls it to skip the time that a halted vCPU waits.
    /// </summary>
    /// <param name="to">The new value in nanoseconds; an earlier one than <see cref="Now"/> moves nothing.</param>
    public void Advance(long to)
    {
        if (to > _stoppedAt) Volatile.Write(ref _stoppedAt, to);
        if (NextDeadline <= _stoppedAt) FireDue();
    }

    /// <summary>Stops the worker; timers fire no more. From within a timer callback: when that has returned.</summary>
    public void Dispose()
    {
        Pause();
        Thread? thread;
        lock (_lock)
        {
            if (_disposed) return;
            Volatile.Write(ref _disposed, true);
            thread = _thread;
        }

        _signal?.Set();
        if (thread is not null && thread != Thread.CurrentThread) thread.Join();
    }

    /// <summary>Completes when no timer callback is under way. After <see cref="Pause"/> none begins, so it stays so.</summary>
    internal Task WhenQuiet()
    {
        lock (_lock)
        {
            if (_firing is null) return Task.CompletedTask;
            return (_quiet ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
        }
    }

    /// <summary>A device has left the machine: its timers fire no more, and cannot be armed.</summary>
    internal void Forget(object gate)
    {
        lock (_lock)
        {
            (_forgotten ??= []).TryAdd(gate, gate);
            foreach (var timer in _armed)
            {
                if (timer.Gate == gate) timer.Deadline = long.MaxValue;
            }

            _armed.RemoveAll(t => t.Gate == gate);
        }
    }

    internal void Set(VmTimer timer, long deadline)
    {
        bool sooner;
        lock (_lock)
        {
            if (deadline != long.MaxValue && _forgotten is not null && _forgotten.TryGetValue(timer.Gate, out _)) return;
            if (timer.Deadline == deadline) return;
            var wasArmed = timer.Deadline != long.MaxValue;
            timer.Deadline = deadline;
            if (deadline == long.MaxValue) _armed.Remove(timer);
            else if (!wasArmed) _armed.Add(timer);
            var next = long.MaxValue;
            foreach (var armed in _armed) next = Math.Min(next, armed.Deadline);
            sooner = next < _nextDeadline;
            Volatile.Write(ref _nextDeadline, next);
            if (sooner) StartWorker();
        }

        // A later deadline needs no wake-up: the worker comes round at the old one and finds nothing due.
        if (sooner && !IsCounted) _signal?.Set();
    }

    private void StartWorker()
    {
        if (IsCounted || !_running || _armed.Count == 0 || _thread is not null || _disposed) return;
        _signal = AlarmSignal.Create();
        _thread = new Thread(static clock => ((VmClock)clock!).Work()) { IsBackground = true, Name = "vmm-clock" };
        _thread.Start(this);
    }

    private long HostNanoseconds() =>
        _isSystemTime ? HostClock.Nanoseconds : HostClock.Scale(_time.GetTimestamp(), _time.TimestampFrequency);

    private void Work()
    {
        var signal = _signal!;
        // A time provider of the caller's own decides by its timers when a wait is over; the signal itself then has no time-out.
        using var alarm = _isSystemTime ? null : _time.CreateTimer(static signal => ((AlarmSignal)signal!).Set(), signal, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        while (!Volatile.Read(ref _disposed))
        {
            var now = Now;
            var next = NextDeadline;
            if (!Volatile.Read(ref _running) || next == long.MaxValue)
            {
                signal.Wait(long.MaxValue);
            }
            else if (next <= now)
            {
                FireDue();
            }
            else if (alarm is null)
            {
                signal.Wait(next - now);
            }
            else
            {
                alarm.Change(TimeSpan.FromTicks(Math.Min((next - now - 1) / 100 + 1, TimeSpan.TicksPerDay)), Timeout.InfiniteTimeSpan); // a timer takes no more than 49 days
                signal.Wait(long.MaxValue);
            }
        }

        signal.Dispose();
    }

    private void FireDue()
    {
        while (true)
        {
            VmTimer? due = null;
            var now = Now;
            lock (_lock)
            {
                if (_running || IsCounted)
                {
                    foreach (var timer in _armed)
                    {
                        if (timer.Deadline <= now && (due is null || timer.Deadline < due.Deadline)) due = timer;
                    }
                }

                if (due is null) return;
                Volatile.Write(ref _firing, Thread.CurrentThread);
            }

            try
            {
                due.FireIfDue(now);
            }
            catch (Exception e) when (Faulted is not null)
            {
                Faulted(e);
            }
            finally
            {
                lock (_lock)
                {
                    Volatile.Write(ref _firing, null);
                    _quiet?.TrySetResult();
                    _quiet = null;
                }
            }
        }
    }
}
