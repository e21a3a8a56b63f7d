// futex(2), FUTEX_WAIT and FUTEX_WAKE on a private word; prctl(2), PR_SET_TIMERSLACK.
using System.Runtime.InteropServices;
using Vmm.Core.Time;

namespace Vmm.Core.Interop.Linux;

/// <summary>An <see cref="AlarmSignal"/> on a Linux futex: time-outs of nanoseconds, and no system call to set it while nobody waits.</summary>
internal sealed unsafe partial class Futex : AlarmSignal
{
    private const int Clear = 0, Signalled = 1, Waiting = 2;
    private const int FUTEX_WAIT_PRIVATE = 0 | 128, FUTEX_WAKE_PRIVATE = 1 | 128;
    private const int PR_SET_TIMERSLACK = 29;

    // Pinned for good, so that a late Set on a forgotten signal still finds memory of ours.
    private readonly int[] _word = GC.AllocateArray<int>(1, pinned: true);
    private bool _preciseThread;

    /// <summary>Whether the system call's number is known for this processor.</summary>
    public static bool IsSupported => CallNumber != 0;

    private static nint CallNumber => RuntimeInformation.ProcessArchitecture switch
    {
        Architecture.X64 => 202,
        Architecture.Arm64 or Architecture.RiscV64 or Architecture.LoongArch64 => 98,
        _ => 0,
    };

    public override void Set()
    {
        if (Interlocked.Exchange(ref _word[0], Signalled) == Waiting) Call(FUTEX_WAKE_PRIVATE, 1, null);
    }

    public override void Reset() => Interlocked.CompareExchange(ref _word[0], Clear, Signalled);

    public override void Wait(long nanoseconds)
    {
        if (Interlocked.CompareExchange(ref _word[0], Clear, Signalled) == Signalled || nanoseconds <= 0) return;
        if (Interlocked.CompareExchange(ref _word[0], Waiting, Clear) == Clear)
        {
            if (nanoseconds == long.MaxValue)
            {
                Call(FUTEX_WAIT_PRIVATE, Waiting, null);
            }
            else
            {
                MakeThreadPrecise();
                var timeout = new Timespec { Seconds = (nint)(nanoseconds / 1_000_000_000), Nanoseconds = (nint)(nanoseconds % 1_000_000_000) };
                Call(FUTEX_WAIT_PRIVATE, Waiting, &timeout);
            }
        }

        Interlocked.Exchange(ref _word[0], Clear);
    }

    // The word is ordinary pinned memory: nothing to free, and a late user does no harm.
    public override void Dispose() => Set();

    // The kernel may delay a time-out by the thread's timer slack, 50 us unless told otherwise.
    private void MakeThreadPrecise()
    {
        if (_preciseThread) return;
        _preciseThread = true;
        _ = prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    }

    private void Call(int operation, int value, Timespec* timeout)
    {
        // SAFETY: the array is pinned for its whole life, which lasts at least until this method of its owner returns.
        _ = syscall(CallNumber, (nint)System.Runtime.CompilerServices.Unsafe.AsPointer(ref _word[0]), operation, value, (nint)timeout, 0, 0);
        GC.KeepAlive(this);
    }

    [LibraryImport("libc")]
    private static partial nint syscall(nint number, nint address, nint operation, nint value, nint timeout, nint address2, nint value3);

    [LibraryImport("libc")]
    private static partial int prctl(int option, nuint arg2, nuint arg3, nuint arg4, nuint arg5);

    [StructLayout(LayoutKind.Sequential)]
    private struct Timespec
    {
        public nint Seconds;
        public nint Nanoseconds;
    }
}
