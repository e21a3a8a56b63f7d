using System.Collections.Immutable;
using Vmm.Core.Time;

namespace Vmm.Core.Telemetry;

/// <summary>
/// When a machine came how far, in nanoseconds of host time (of the machine's <see cref="TimeProvider"/>) since its building began. Of each
/// name the first mark counts. Thread-safe.
/// </summary>
public sealed class BootTimeline
{
    /// <summary>The name of the mark for: devices made, kernel loaded.</summary>
    public const string Loaded = "loaded";

    /// <summary>The name of the mark for: <see cref="VirtualMachine.StartAsync"/> called.</summary>
    public const string Started = "started";

    /// <summary>The name of the mark for: a vCPU is about to run its first instruction.</summary>
    public const string FirstInstruction = "first-instruction";

    /// <summary>The name of the mark for: the guest has sent a byte to its console.</summary>
    public const string FirstConsoleByte = "first-console-byte";

    /// <summary>The name of the mark for: the machine is at its end.</summary>
    public const string Ended = "ended";

    private readonly Lock _lock = new();
    private readonly TimeProvider _time;
    private readonly long _origin;
    private ImmutableArray<BootMark> _marks = [];
    private bool _hasConsoleByte;

    internal BootTimeline(TimeProvider time) => (_time, _origin) = (time, time.GetTimestamp());

    /// <summary>The marks so far, in the order of time.</summary>
    public ImmutableArray<BootMark> Marks
    {
        get
        {
            lock (_lock) return _marks;
        }
    }

    /// <summary>Called after the first console byte was marked; not under a lock.</summary>
    internal Action? ConsoleReached { get; set; }

    /// <summary>The time of a mark, in nanoseconds; null where it was not made.</summary>
    /// <param name="name">Its name.</param>
    public long? this[string name]
    {
        get
        {
            foreach (var mark in Marks)
            {
                if (mark.Name == name) return mark.Nanoseconds;
            }

            return null;
        }
    }

    /// <summary>Makes a mark, unless there is one of that name.</summary>
    /// <param name="name">One of the names above, or one of the caller's own.</param>
    /// <returns>Whether it was made.</returns>
    public bool Mark(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        lock (_lock)
        {
            foreach (var mark in _marks)
            {
                if (mark.Name == name) return false;
            }

            _marks = _marks.Add(new BootMark(name, HostClock.Scale(_time.GetTimestamp() - _origin, _time.TimestampFrequency)));
            return true;
        }
    }

    /// <summary>For console devices, at each byte the guest sends: makes the mark <see cref="FirstConsoleByte"/> at the first and costs nothing after.</summary>
    public void MarkConsoleByte()
    {
        if (Volatile.Read(ref _hasConsoleByte)) return;
        Volatile.Write(ref _hasConsoleByte, true);
        if (Mark(FirstConsoleByte)) ConsoleReached?.Invoke();
    }
}
