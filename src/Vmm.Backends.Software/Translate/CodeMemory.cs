using Vmm.Backends.Software.Interop;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// Memory for machine code, never writable and executable through the same mapping: it is written by one address and run by
/// another. Code is known by its offset; all jumps are relative, so that both mappings hold the same bytes.
/// </summary>
internal sealed unsafe class CodeMemory : IDisposable
{
    /// <summary>Bytes reserved; pages cost nothing until they are written.</summary>
    public const int Size = 64 << 20;

    // Code of a kernel is spread so widely that the processor's TLB does not cover it in small pages. A large one is made when this much is in use.
    private const int WorthLargePage = LinuxMemory.LargePage / 8;

    private readonly nint _executable;
    private readonly nint _writable;
    private ulong _large;
    private bool _disposed;

    private CodeMemory(nint writable, nint executable) => (_writable, _executable) = (writable, executable);

    /// <summary>The bytes, for writing.</summary>
    // SAFETY: mapped by TryCreate with Size bytes, unmapped by Dispose after the vCPU has ended.
    public byte* Bytes => (byte*)_writable;

    /// <summary>Maps the memory. Null where the host allows no such thing.</summary>
    public static CodeMemory? TryCreate()
    {
        if (OperatingSystem.IsLinux()) return LinuxMemory.TryMapTwice(Size, out var w, out var x) ? new CodeMemory(w, x) : null;
        if (OperatingSystem.IsWindows()) return WindowsMemory.TryMapTwice(Size, out var w, out var x) ? new CodeMemory(w, x) : null;
        return null;
    }

    /// <summary>Where the code at an offset runs.</summary>
    public nint Address(int offset) => _executable + offset;

    /// <summary>Lets a 32-bit relative operand at an offset lead to another offset.</summary>
    public void Patch(int at, int target) => *(int*)(Bytes + at) = target - (at + 4);

    /// <summary>Code was written up to an offset.</summary>
    public void Grow(int offset)
    {
        var page = offset / LinuxMemory.LargePage;
        if ((_large >> page & 1) != 0 || offset % LinuxMemory.LargePage < WorthLargePage) return;
        _large |= 1UL << page;
        if (!OperatingSystem.IsLinux()) return;
        LinuxMemory.Collapse(_writable + page * LinuxMemory.LargePage, LinuxMemory.LargePage);
        LinuxMemory.Collapse(_executable + page * LinuxMemory.LargePage, LinuxMemory.LargePage);
    }

    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        if (OperatingSystem.IsLinux()) LinuxMemory.Unmap(_writable, _executable, Size);
        else if (OperatingSystem.IsWindows()) WindowsMemory.Unmap(_writable, _executable);
    }
}
