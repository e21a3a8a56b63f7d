namespace Vmm.Core.Memory;

public sealed partial class GuestMemory
{
    /// <summary>
    /// Lends guest memory itself, for host I/O without a copy. The memory stays valid until the machine is disposed, even if its region is
    /// removed meanwhile. The guest may change it at any time: do not read a byte of it twice and expect the same. Whoever writes to it
    /// calls <see cref="Written"/> afterwards.
    /// </summary>
    /// <param name="gpa">Guest-physical address of the first byte.</param>
    /// <param name="length">The bytes wanted; not zero.</param>
    /// <param name="writable">Whether they will be written: only RAM may be.</param>
    /// <param name="memory">The first run of them that is contiguous in the host: 1 to <paramref name="length"/> bytes.</param>
    /// <returns>Whether there is memory of that kind at the address.</returns>
    public bool TryLend(ulong gpa, uint length, bool writable, out Memory<byte> memory)
    {
        memory = default;
        if (length == 0 || Find(gpa) is not { } region || (writable && region.Kind != MemoryRegionKind.Ram)) return false;
        memory = region.Lend(gpa - region.Start, length);
        return true;
    }

    /// <summary>Tells dirty logging and cached guest code of bytes that were written through <see cref="TryLend"/>. What is no RAM any more is passed over.</summary>
    /// <param name="gpa">Guest-physical address of the first byte.</param>
    /// <param name="length">Bytes; the sum may not pass 2^64.</param>
    public void Written(ulong gpa, ulong length)
    {
        while (length > 0)
        {
            if (Find(gpa) is not { } region) return;
            var count = Math.Min(Math.Min(length, region.End - gpa), 1U << 30);
            region.Written(gpa - region.Start, (uint)count);
            length -= count;
            gpa += count;
        }
    }
}
