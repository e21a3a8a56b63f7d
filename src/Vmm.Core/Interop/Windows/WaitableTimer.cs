// CreateWaitableTimerExW with CREATE_WAITABLE_TIMER_HIGH_RESOLUTION (Windows 10 1803 and later).
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vmm.Core.Time;

namespace Vmm.Core.Interop.Windows;

/// <summary>An <see cref="AlarmSignal"/> on a Windows high-resolution waitable timer (steps of 100 ns, kept to about half a millisecond).</summary>
internal sealed partial class WaitableTimer : AlarmSignal
{
    private const uint CREATE_WAITABLE_TIMER_HIGH_RESOLUTION = 2, TIMER_ALL_ACCESS = 0x1F0003;

    private readonly AutoResetEvent _event = new(false);
    private readonly TimerHandle _timer = new();
    private readonly WaitHandle[] _both;

    public WaitableTimer()
    {
        // Older systems refuse the flag; an ordinary timer (about 15 ms) then still is correct.
        var handle = CreateWaitableTimerExW(0, 0, CREATE_WAITABLE_TIMER_HIGH_RESOLUTION, TIMER_ALL_ACCESS);
        if (handle == 0) handle = CreateWaitableTimerExW(0, 0, 0, TIMER_ALL_ACCESS);
        if (handle == 0) throw new OutOfMemoryException($"CreateWaitableTimerExW failed: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}.");
        _timer.SafeWaitHandle = new SafeWaitHandle(handle, ownsHandle: true);
        _both = [_event, _timer];
    }

    public override void Set()
    {
        try
        {
            _event.Set();
        }
        catch (ObjectDisposedException)
        {
            // A late set on a machine that is gone.
        }
    }

    public override void Reset()
    {
        try
        {
            _event.Reset();
        }
        catch (ObjectDisposedException)
        {
            // As above.
        }
    }

    public override void Wait(long nanoseconds)
    {
        if (nanoseconds <= 0) return;
        try
        {
            if (nanoseconds == long.MaxValue)
            {
                _event.WaitOne();
                return;
            }

            // Negative: relative to now, in units of 100 ns; rounded up, so that a waiter does not come back too early and spin.
            var due = -((nanoseconds - 1) / 100 + 1);
            if (SetWaitableTimerEx(_timer.SafeWaitHandle, in due, 0, 0, 0, 0, 0) == 0) _event.WaitOne((int)Math.Min(nanoseconds / 1_000_000 + 1, int.MaxValue));
            else WaitHandle.WaitAny(_both);
        }
        catch (ObjectDisposedException)
        {
            // As above.
        }
    }

    public override void Dispose()
    {
        _event.Dispose();
        _timer.Dispose();
    }

    [LibraryImport("kernel32", SetLastError = true)]
    private static partial nint CreateWaitableTimerExW(nint attributes, nint name, uint flags, uint access);

    [LibraryImport("kernel32", SetLastError = true)]
    private static partial int SetWaitableTimerEx(SafeWaitHandle timer, in long due, int period, nint routine, nint argument, nint context, uint delay);

    private sealed class TimerHandle : WaitHandle;
}
