using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmm.Core.Memory;

/// <summary>Guest RAM or ROM in native memory that this object owns, or that a caller lends.</summary>
public sealed unsafe partial class MemoryRegion : IMemoryRegion, IDisposable
{
    /// <summary>The size of a page, in bytes: the grain of mapping and dirty logging.</summary>
    public const int PageSize = 4096;

    private readonly bool _owned;
    private readonly IDisposable? _owner;
    private byte* _host;
    private byte* _flags;

    private MemoryRegion(string name, MemoryRegionKind kind, ulong start, ulong length, byte* host, bool owned, IDisposable? owner = null)
    {
        (Name, Kind, Start, Length, _owned, _owner) = (name, kind, start, length, owned, owner);
        _host = host;
        // SAFETY: calloc of one byte a page; freed once, in Dispose.
        _flags = (byte*)NativeMemory.AllocZeroed((nuint)(length / PageSize));
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <inheritdoc/>
    public MemoryRegionKind Kind { get; }

    /// <inheritdoc/>
    public ulong Start { get; }

    /// <inheritdoc/>
    public ulong Length { get; }

    /// <summary>The first guest-physical address past the region.</summary>
    public ulong End => Start + Length;

    /// <inheritdoc/>
    public nint HostAddress => (nint)_host;

    /// <summary>The address of an array of one <see cref="PageFlags"/> byte per page, for engines.</summary>
    public nint PageFlagsAddress => (nint)_flags;

    /// <summary>Called with a guest-physical address and a number of bytes, all of one page, that the host wrote in a page marked <see cref="PageFlags.Code"/>.</summary>
    internal Action<ulong, uint>? CodeWritten { get; set; }

    /// <summary>Allocates zeroed, page-aligned native memory; the host commits pages as they are touched.</summary>
    /// <param name="name">A name unique within the machine.</param>
    /// <param name="start">First guest-physical address; a multiple of 4096.</param>
    /// <param name="length">Size in bytes; a multiple of 4096, not zero.</param>
    /// <param name="kind">RAM or ROM.</param>
    /// <exception cref="ArgumentException">Start or length is not page-aligned, or the end passes 2^52.</exception>
    /// <exception cref="OutOfMemoryException">The host gave no memory.</exception>
    public static MemoryRegion Allocate(string name, ulong start, ulong length, MemoryRegionKind kind = MemoryRegionKind.Ram)
    {
        Check(start, length);
        return new MemoryRegion(name, kind, start, length, (byte*)NativePages.Allocate(length), owned: true);
    }

    /// <summary>Lends the caller's own memory to a guest. It must stay valid until the machine is disposed.</summary>
    /// <param name="name">A name unique within the machine.</param>
    /// <param name="start">First guest-physical address; a multiple of 4096.</param>
    /// <param name="length">Size in bytes; a multiple of 4096, not zero.</param>
    /// <param name="hostAddress">Page-aligned address of pinned or native memory.</param>
    /// <param name="kind">RAM or ROM.</param>
    /// <param name="owner">What keeps the memory valid; disposed with the region.</param>
    /// <exception cref="ArgumentException">An address or the length is not page-aligned, or the end passes 2^52.</exception>
    public static MemoryRegion FromHost(string name, ulong start, ulong length, nint hostAddress, MemoryRegionKind kind = MemoryRegionKind.Ram, IDisposable? owner = null)
    {
        Check(start, length);
        if (hostAddress == 0 || hostAddress % PageSize != 0)
        {
            throw new ArgumentException($"Host address 0x{hostAddress:x} is not a page-aligned address; align it to {PageSize} bytes.", nameof(hostAddress));
        }

        return new MemoryRegion(name, kind, start, length, (byte*)hostAddress, owned: false, owner);
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> destination)
    {
        CheckRange(offset, (uint)destination.Length);
        // SAFETY: the range was checked against Length just above.
        new ReadOnlySpan<byte>(_host + offset, destination.Length).CopyTo(destination);
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> source)
    {
        CheckRange(offset, (uint)source.Length);
        // SAFETY: the range was checked against Length just above.
        source.CopyTo(new Span<byte>(_host + offset, source.Length));
        Written(offset, (uint)source.Length);
    }

    /// <summary>The bytes of a checked range. A caller that writes through it calls <see cref="Written"/> afterwards.</summary>
    internal Span<byte> Span(ulong offset, int length)
    {
        CheckRange(offset, (uint)length);
        // SAFETY: the range was checked against Length just above.
        return new Span<byte>(_host + offset, length);
    }

    /// <summary>Tells dirty logging and code watchers of a host write that has been made.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Written(ulong offset, uint length)
    {
        if (length == 0) return;
        // Whoever marks a page reads it afterwards: either it sees what was written, or its mark is seen here.
        Interlocked.MemoryBarrier();
        var last = (offset + length - 1) / PageSize;
        for (var page = offset / PageSize; page <= last; page++)
        {
            // SAFETY: callers pass ranges they have checked.
            if (Volatile.Read(ref _flags[page]) != 0) WrittenSlow(page, offset, offset + length);
        }
    }

    private void WrittenSlow(ulong page, ulong from, ulong to)
    {
        var before = ClearFlags(page, PageFlags.Clean);
        if ((before & PageFlags.Code) == 0) return;
        from = Math.Max(from, page * PageSize);
        CodeWritten?.Invoke(Start + from, (uint)(Math.Min(to, (page + 1) * PageSize) - from));
    }

    /// <summary>Reads a page's flags.</summary>
    /// <param name="page">Page number within the region.</param>
    public PageFlags GetFlags(ulong page)
    {
        CheckRange(page * PageSize, PageSize);
        return (PageFlags)Volatile.Read(ref _flags[page]);
    }

    /// <summary>Atomically sets flags of a page and returns what they were before.</summary>
    /// <param name="page">Page number within the region.</param>
    /// <param name="flags">Bits to set.</param>
    public PageFlags SetFlags(ulong page, PageFlags flags)
    {
        CheckRange(page * PageSize, PageSize);
        // SAFETY: the page number was checked.
        return (PageFlags)Change(ref _flags[page], (byte)flags, 0xFF);
    }

    /// <summary>Atomically clears flags of a page and returns what they were before.</summary>
    /// <param name="page">Page number within the region.</param>
    /// <param name="flags">Bits to clear.</param>
    public PageFlags ClearFlags(ulong page, PageFlags flags)
    {
        CheckRange(page * PageSize, PageSize);
        // SAFETY: the page number was checked.
        return (PageFlags)Change(ref _flags[page], 0, (byte)~flags);
    }

    /// <summary>
    /// Gives back the native memory if this object owns it, or disposes its owner. No guest, device or holder of <see cref="HostAddress"/> may be using it:
    /// memory of which few pages were touched is cleared and becomes another region's.
    /// </summary>
    public void Dispose()
    {
        var host = _host;
        var flags = _flags;
        _host = _flags = null;
        // SAFETY: pointers are taken out of the object before they are freed, so a second call frees nothing.
        if (flags != null) NativeMemory.Free(flags);
        if (host == null) return;
        if (_owned) NativePages.Free((nint)host, Length);
        _owner?.Dispose();
    }

    /// <summary>Kind, range and name, as address maps print them.</summary>
    public override string ToString() => $"{Start:x12}-{End - 1:x12} {Kind} {Name}";

    private static byte Change(ref byte flags, byte set, byte keep)
    {
        while (true)
        {
            var before = Volatile.Read(ref flags);
            if (Interlocked.CompareExchange(ref flags, (byte)((before & keep) | set), before) == before) return before;
        }
    }

    private static void Check(ulong start, ulong length)
    {
        if (start % PageSize != 0) throw new ArgumentException($"Region start 0x{start:x} is not a multiple of {PageSize}.", nameof(start));
        if (length == 0 || length % PageSize != 0) throw new ArgumentException($"Region length 0x{length:x} is not a positive multiple of {PageSize}.", nameof(length));
        if (start >= 1UL << 52 || length > (1UL << 52) - start) throw new ArgumentException($"Region 0x{start:x}+0x{length:x} ends past the 52-bit physical address space.", nameof(length));
    }

    private void CheckRange(ulong offset, uint length)
    {
        ObjectDisposedException.ThrowIf(_host == null, this);
        if (offset > Length || length > Length - offset)
        {
            throw new ArgumentOutOfRangeException(nameof(offset), $"0x{offset:x}+0x{length:x} is outside region '{Name}' of 0x{Length:x} bytes.");
        }
    }
}
