using System.Buffers;

namespace Vmm.Core.Memory;

/// <summary>A piece of a region as <see cref="Memory{T}"/>, for asynchronous I/O without a copy. Native memory does not move: pinning it is free.</summary>
/// <param name="start">Its first byte.</param>
/// <param name="length">Bytes.</param>
internal sealed unsafe class RegionMemory(byte* start, int length) : MemoryManager<byte>
{
    // SAFETY: the region that made this object promises its memory until the machine is disposed.
    public override Span<byte> GetSpan() => new(start, length);

    public override MemoryHandle Pin(int elementIndex = 0)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)elementIndex, (uint)length);
        // SAFETY: inside the piece, which does not move.
        return new MemoryHandle(start + elementIndex);
    }

    public override void Unpin() { }

    protected override void Dispose(bool disposing) { }
}
