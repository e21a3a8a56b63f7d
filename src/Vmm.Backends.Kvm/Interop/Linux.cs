// open(2), ioctl(2), mmap(2), eventfd(2), poll(2), sigaction(2), tgkill(2): the system calls of the KVM backend, x86-64.
using System.Runtime.InteropServices;

namespace Vmm.Backends.Kvm.Interop;

/// <summary>The C library calls that the backend needs.</summary>
internal static unsafe partial class Linux
{
    public const int EPERM = 1, ENOENT = 2, EINTR = 4, ENXIO = 6, E2BIG = 7, EAGAIN = 11, ENOMEM = 12, EACCES = 13, EFAULT = 14, EBUSY = 16, EEXIST = 17, ENODEV = 19, EINVAL = 22, EMFILE = 24, ENFILE = 23, ENOSPC = 28, ENOSYS = 38;
    public const int O_RDWR = 2, O_CLOEXEC = 0x80000, EFD_CLOEXEC = 0x80000, EFD_NONBLOCK = 0x800;
    public const int PROT_READ = 1, PROT_WRITE = 2, MAP_SHARED = 1;
    public const short POLLIN = 1;
    public const nint SYS_gettid = 186, SYS_tgkill = 234;

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int open(string path, int flags, int mode);

    [LibraryImport("libc")]
    public static partial int close(int descriptor);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int ioctl(KvmFile file, nuint request, void* argument);

    // Without errno, whose keeping costs two calls more: for the one ioctl of every exit.
    [LibraryImport("libc", EntryPoint = "ioctl")]
    public static partial int ioctl_quick(int file, nuint request, nint argument);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    public static partial int ioctl_raw(int file, nuint request, nint argument);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint mmap(nint address, nuint length, int protection, int flags, KvmFile file, long offset);

    [LibraryImport("libc")]
    public static partial int munmap(nint address, nuint length);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int eventfd(uint initial, int flags);

    [LibraryImport("libc")]
    public static partial nint read(KvmFile file, void* bytes, nuint count);

    [LibraryImport("libc")]
    public static partial nint write(KvmFile file, void* bytes, nuint count);

    [LibraryImport("libc")]
    public static partial nint pread(KvmFile file, void* bytes, nuint count, long offset);

    [LibraryImport("libc")]
    public static partial int poll(poll_fd* files, nuint count, int timeout);

    [LibraryImport("libc")]
    public static partial nint syscall(nint number, nint a, nint b, nint c);

    [LibraryImport("libc")]
    public static partial int sigaction(int signal, sigaction_t* action, sigaction_t* old);

    [StructLayout(LayoutKind.Sequential)]
    public struct poll_fd
    {
        public int fd;
        public short events, revents;
    }

    /// <summary>struct sigaction as glibc and musl have it on x86-64.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct sigaction_t
    {
        public nint handler;
        public fixed ulong mask[16];
        public int flags;
        public nint restorer;
    }
}
