// open(2), ioctl(2), eventfd(2), read(2): a file descriptor that is closed once.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vmm.Core.Errors;

namespace Vmm.Backends.Kvm.Interop;

/// <summary>A file descriptor of KVM's: the device, a VM, a vCPU, or an eventfd. Closed when disposed, and at the latest by its finaliser.</summary>
internal sealed unsafe class KvmFile : SafeHandleMinusOneIsInvalid
{
    public KvmFile(nint descriptor) : base(true) => SetHandle(descriptor);

    /// <summary>The descriptor, for as long as this object is not disposed.</summary>
    public int Descriptor => (int)handle;

    /// <summary>Opens a file for reading and writing. An invalid one, with the errno, if that fails.</summary>
    public static KvmFile Open(string path, out int error)
    {
        var descriptor = Linux.open(path, Linux.O_RDWR | Linux.O_CLOEXEC, 0);
        error = descriptor < 0 ? Marshal.GetLastPInvokeError() : 0;
        return new KvmFile(descriptor);
    }

    /// <summary>Makes an eventfd that does not block.</summary>
    public static KvmFile CreateEvent()
    {
        var descriptor = Linux.eventfd(0, Linux.EFD_CLOEXEC | Linux.EFD_NONBLOCK);
        return descriptor >= 0 ? new KvmFile(descriptor) : throw KvmErrors.Of("eventfd", Marshal.GetLastPInvokeError());
    }

    /// <summary>An ioctl with a plain number.</summary>
    /// <returns>Its result, or the negated errno.</returns>
    public int TryCall(uint request, nint argument = 0)
    {
        while (true)
        {
            var result = Linux.ioctl(this, request, (void*)argument);
            if (result >= 0) return result;
            var error = Marshal.GetLastPInvokeError();

            // Making a VM takes locks that any signal interrupts; nothing has happened then.
            if (error != Linux.EINTR) return -error;
        }
    }

    /// <summary>An ioctl with a structure.</summary>
    /// <returns>Its result, or the negated errno.</returns>
    public int TryCall<T>(uint request, ref T argument) where T : unmanaged
    {
        // SAFETY: pinned for the call, and of the size that the request's number says.
        fixed (T* pointer = &argument) return TryCall(request, (nint)pointer);
    }

    /// <summary>An ioctl that must work.</summary>
    /// <exception cref="HypervisorException">It did not.</exception>
    public int Call(uint request, string name, nint argument = 0)
    {
        var result = TryCall(request, argument);
        return result >= 0 ? result : throw KvmErrors.Of(name, -result);
    }

    /// <summary>An ioctl that must work.</summary>
    /// <exception cref="HypervisorException">It did not.</exception>
    public int Call<T>(uint request, string name, ref T argument) where T : unmanaged
    {
        var result = TryCall(request, ref argument);
        return result >= 0 ? result : throw KvmErrors.Of(name, -result);
    }

    /// <summary>An ioctl on a counted array behind a header: the count, then (unless the header is 4 bytes) a zero.</summary>
    /// <param name="request">Its number.</param>
    /// <param name="items">The array, in and out.</param>
    /// <param name="count">In and out.</param>
    /// <param name="header">4 or 8 bytes.</param>
    public int TryCallList<T>(uint request, Span<T> items, ref uint count, int header = 8) where T : unmanaged
    {
        var buffer = new byte[header + items.Length * sizeof(T)];
        MemoryMarshal.Write(buffer, count);
        MemoryMarshal.AsBytes(items).CopyTo(buffer.AsSpan(header));
        int result;
        // SAFETY: the count is at most the length of the array that follows it.
        fixed (byte* pointer = buffer) result = TryCall(request, (nint)pointer);
        count = MemoryMarshal.Read<uint>(buffer);
        buffer.AsSpan(header).CopyTo(MemoryMarshal.AsBytes(items));
        return result;
    }

    /// <summary>Asks for a capability of this file (the system or a VM): zero for absent.</summary>
    public int CheckExtension(int capability) => Math.Max(0, TryCall(Kvm.KVM_CHECK_EXTENSION, capability));

    /// <summary>Switches a capability on.</summary>
    /// <returns>The result, or the negated errno.</returns>
    public int TryEnable(int capability, ulong argument = 0)
    {
        var cap = new kvm_enable_cap { cap = (uint)capability };
        cap.args[0] = argument;
        return TryCall(Kvm.KVM_ENABLE_CAP, ref cap);
    }

    /// <summary>Reads bytes from a position, of a file of statistics.</summary>
    public bool TryRead(Span<byte> bytes, long offset)
    {
        // SAFETY: pinned for the call, which writes at most its length.
        fixed (byte* pointer = bytes) return Linux.pread(this, pointer, (nuint)bytes.Length, offset) == bytes.Length;
    }

    /// <summary>Takes what an eventfd has counted.</summary>
    /// <returns>Whether it was not zero.</returns>
    public bool TakeEvent()
    {
        ulong count;
        // SAFETY: an eventfd gives exactly 8 bytes.
        return Linux.read(this, &count, 8) == 8;
    }

    /// <summary>Adds one to an eventfd.</summary>
    public void SetEvent()
    {
        ulong one = 1;
        // SAFETY: an eventfd takes exactly 8 bytes.
        _ = Linux.write(this, &one, 8);
    }

    protected override bool ReleaseHandle() => Linux.close((int)handle) == 0;
}
