// mmap(2) of a vCPU's file: its kvm_run page, the coalesced-write ring, the dirty ring.
using System.Runtime.InteropServices;

namespace Vmm.Backends.Kvm.Interop;

/// <summary>A shared mapping of a KVM file.</summary>
internal sealed class KvmMapping : SafeHandle
{
    private readonly nuint _length;

    public KvmMapping(KvmFile file, nuint length, long offset) : base(-1, true)
    {
        _length = length;
        SetHandle(Linux.mmap(0, length, Linux.PROT_READ | Linux.PROT_WRITE, Linux.MAP_SHARED, file, offset));
        if (IsInvalid) throw KvmErrors.Of("mmap of a vCPU", Marshal.GetLastPInvokeError());
    }

    public override bool IsInvalid => handle == -1;

    /// <summary>The first byte, for as long as this object is not disposed.</summary>
    public nint Address => handle;

    protected override bool ReleaseHandle() => Linux.munmap(handle, _length) == 0;
}
