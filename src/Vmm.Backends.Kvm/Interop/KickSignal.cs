// signal(7), tgkill(2): the signal that brings a thread out of KVM_RUN.
using System.Runtime.InteropServices;

namespace Vmm.Backends.Kvm.Interop;

/// <summary>
/// A real-time signal with a handler that does nothing, so that it interrupts a system call and no more. The handler is the C library's
/// <c>abs</c>: a function of one number without any effect, which may run at any place; managed code may not. Of the real-time signals the
/// highest is taken that nobody handles; .NET uses the lowest for its garbage collector.
/// </summary>
internal static unsafe class KickSignal
{
    private const int Highest = 64, Lowest = 40;

    /// <summary>The signal's number. It is installed when this is first asked for, and stays.</summary>
    public static readonly int Number = Install();

    /// <summary>The calling thread, as <see cref="Send"/> takes it.</summary>
    public static int CurrentThread => (int)Linux.syscall(Linux.SYS_gettid, 0, 0, 0);

    /// <summary>Interrupts a thread of this process; nothing happens if it is gone.</summary>
    public static void Send(int thread) => _ = Linux.syscall(Linux.SYS_tgkill, Environment.ProcessId, thread, Number);

    private static int Install()
    {
        var handler = NativeLibrary.GetExport(NativeLibrary.GetMainProgramHandle(), "abs");
        for (var signal = Highest; signal >= Lowest; signal--)
        {
            Linux.sigaction_t old;
            // SAFETY: the structures live on the stack during the calls and have the C library's layout. No SA_RESTART: the call must end.
            if (Linux.sigaction(signal, null, &old) != 0 || old.handler != 0) continue;
            var action = new Linux.sigaction_t { handler = handler };
            if (Linux.sigaction(signal, &action, null) == 0) return signal;
        }

        throw new InvalidOperationException("All real-time signals of this process are taken; KVM needs one of 40 to 64 to interrupt its vCPUs.");
    }
}
