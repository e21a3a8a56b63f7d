using Vmm.Core.Interop.Linux;
using Vmm.Core.Interop.Windows;

namespace Vmm.Core.Time;

/// <summary>
/// An auto-reset event with a time-out in nanoseconds: a futex on Linux, a high-resolution waitable timer on Windows, whole
/// milliseconds elsewhere. One thread waits; any may set. Setting and waiting after disposal do nothing.
/// </summary>
internal abstract class AlarmSignal : IDisposable
{
    /// <summary>Makes the best one this host has.</summary>
    public static AlarmSignal Create() =>
        OperatingSystem.IsLinux() && Futex.IsSupported ? new Futex()
        : OperatingSystem.IsWindows() ? new WaitableTimer()
        : new MillisecondSignal();

    /// <summary>Ends a wait that is under way, or else the next one.</summary>
    public abstract void Set();

    /// <summary>Forgets a <see cref="Set"/> that no wait has taken.</summary>
    public abstract void Reset();

    /// <summary>Waits for <see cref="Set"/> or the time-out; may return early.</summary>
    /// <param name="nanoseconds">The time-out; <see cref="long.MaxValue"/> for none, zero or less returns at once.</param>
    public abstract void Wait(long nanoseconds);

    /// <inheritdoc/>
    public abstract void Dispose();
}
