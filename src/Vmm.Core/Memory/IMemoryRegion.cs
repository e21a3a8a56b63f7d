namespace Vmm.Core.Memory;

/// <summary>
/// A run of guest-physical memory backed by pinned native host memory. Thread-safe: guest and host see each other's
/// writes as two processors of one machine would.
/// </summary>
public interface IMemoryRegion
{
    /// <summary>A name that is unique within its machine, used in dumps and snapshots.</summary>
    string Name { get; }

    /// <summary>RAM or ROM, as the guest sees it.</summary>
    MemoryRegionKind Kind { get; }

    /// <summary>The first guest-physical address, in bytes; a multiple of 4096.</summary>
    ulong Start { get; }

    /// <summary>The size in bytes; a multiple of 4096.</summary>
    ulong Length { get; }

    /// <summary>The address of the first byte in the host process, page-aligned; valid until the machine is disposed.</summary>
    nint HostAddress { get; }

    /// <summary>Copies out of the region.</summary>
    /// <param name="offset">Byte offset from <see cref="Start"/>.</param>
    /// <param name="destination">Receives the bytes.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range is not inside the region.</exception>
    void Read(ulong offset, Span<byte> destination);

    /// <summary>Copies into the region, ROM included: this is the host's side. Dirty logging and cached guest code see the write.</summary>
    /// <param name="offset">Byte offset from <see cref="Start"/>.</param>
    /// <param name="source">The bytes to write.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range is not inside the region.</exception>
    void Write(ulong offset, ReadOnlySpan<byte> source);
}
