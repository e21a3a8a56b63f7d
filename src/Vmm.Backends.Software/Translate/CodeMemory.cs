using Vmm.Backends.Software.Interop;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// Memory for machine code, never writable and executable through the same mapping: it is written by one address and run by
/// another. Code is known by its offset; all jumps are relative, so that both mappings hold the same bytes. It is filled region by region,
/// and when there is no other the oldest is emptied. A region has two parts: what runs often is in the lower half of the memory, what seldom
/// runs in the upper.
/// </summary>
internal sealed unsafe class CodeMemory : IDisposable
{
    /// <summary>How many regions there are.</summary>
    public const int Regions = 8;

    /// <summary>Bytes of either part of a region, of which only pages that are written cost anything.</summary>
    public const int DefaultPart = 4 << 20;

    // Code of a kernel is spread so widely that the processor's TLB does not cover it in small pages. A large one is made when this much is in use: the
    // rest is memory that nothing may ever use.
    private const int WorthLargePage = LinuxMemory.LargePage / 2;

    private readonly nint _executable;
    private readonly nint _writable;
    private readonly int _size;
    private ulong _large;
    private bool _disposed;

    private CodeMemory(nint writable, nint executable, int part, int size) => (_writable, _executable, PartBytes, _size) = (writable, executable, part, size);

    /// <summary>Bytes of either part of a region.</summary>
    public int PartBytes { get; }

    /// <summary>The bytes, for writing.</summary>
    // SAFETY: mapped by TryCreate with _size bytes, unmapped by Dispose after the vCPU has ended.
    public byte* Bytes => (byte*)_writable;

    /// <summary>Maps the memory. Null where the host allows no such thing.</summary>
    /// <param name="part">Bytes of either part of a region.</param>
    public static CodeMemory? TryCreate(int part = DefaultPart)
    {
        var size = (2 * Regions * part + LinuxMemory.LargePage - 1) & -LinuxMemory.LargePage;
        if (OperatingSystem.IsLinux()) return LinuxMemory.TryMapTwice((nuint)size, out var w, out var x) ? new CodeMemory(w, x, part, size) : null;
        if (OperatingSystem.IsWindows()) return WindowsMemory.TryMapTwice((nuint)size, out var w, out var x) ? new CodeMemory(w, x, part, size) : null;
        return null;
    }

    /// <summary>Where a region's part of either kind begins.</summary>
    public int Start(int region, bool cold) => (cold ? Regions + region : region) * PartBytes;

    /// <summary>Where the code at an offset runs.</summary>
    public nint Address(int offset) => _executable + offset;

    /// <summary>Lets a 32-bit relative operand at an offset lead to another offset. Code that is run meanwhile goes either way, if the operand lies where <see cref="Emitter.AlignOperand"/> puts it.</summary>
    public void Patch(int at, int target) => Volatile.Write(ref *(int*)(Bytes + at), target - (at + 4));

    /// <summary>Where a 32-bit relative operand at an offset leads.</summary>
    public int Target(int at) => *(int*)(Bytes + at) + at + 4;

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
        if (OperatingSystem.IsLinux()) LinuxMemory.Unmap(_writable, _executable, (nuint)_size);
        else if (OperatingSystem.IsWindows()) WindowsMemory.Unmap(_writable, _executable);
    }
}
