// poll(2).
using System.Runtime.InteropServices;

namespace Vmm.Backends.Kvm.Interop;

/// <summary>Waits for eventfds.</summary>
internal static unsafe class EventWait
{
    /// <summary>Returns when one of them has counted, or for no reason. A file that is closed meanwhile is passed over.</summary>
    public static void ForAny(List<KvmFile> files)
    {
        var polls = new Linux.poll_fd[files.Count];
        for (var i = 0; i < polls.Length; i++) polls[i] = new Linux.poll_fd { fd = files[i].IsClosed ? -1 : files[i].Descriptor, events = Linux.POLLIN };
        // SAFETY: pinned for the call; the count is the array's.
        fixed (Linux.poll_fd* pointer = polls) _ = Linux.poll(pointer, (nuint)polls.Length, -1);
    }
}
