using System.Runtime.InteropServices;

namespace Vmm.TestSupport.Oracle.Interop;

internal static class LibC
{
    public const int PROT_NONE = 0, PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4;
    public const int MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000;
    public const int MAP_FIXED_NOREPLACE = 0x100000;
    public const int SA_SIGINFO = 4, SA_ONSTACK = 0x08000000, SA_NODEFER = 0x40000000;
    public const int SIGILL = 4, SIGTRAP = 5, SIGBUS = 7, SIGFPE = 8, SIGSEGV = 11;
    public const uint MFD_CLOEXEC = 1;

    [DllImport("libc", SetLastError = true)]
    public static extern nint mmap(nint addr, nint length, int prot, int flags, int fd, nint offset);

    [DllImport("libc", SetLastError = true)]
    public static extern int munmap(nint addr, nint length);

    [DllImport("libc", SetLastError = true)]
    public static extern int memfd_create(in byte name, uint flags);

    [DllImport("libc", SetLastError = true)]
    public static extern int ftruncate(int fd, nint length);

    [DllImport("libc", SetLastError = true)]
    public static extern int close(int fd);

    [DllImport("libc", SetLastError = true)]
    public static extern int sigaction(int signum, nint act, out SigAction oldact);

    [DllImport("libc", SetLastError = true)]
    public static extern int sigaction(int signum, in SigAction act, nint oldact);

    [DllImport("libc", SetLastError = true)]
    public static extern int sigaltstack(in StackT ss, out StackT old);

    [DllImport("libc", SetLastError = true)]
    public static extern int sigaltstack(in StackT ss, nint old);
}
