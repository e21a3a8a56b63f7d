using System.Runtime.InteropServices;

namespace Vmm.Backends.Software.Decode;

/// <summary>The header of a run of decoded instructions in native memory.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Block
{
    /// <summary>Guest-physical address of the first byte.</summary>
    public ulong Physical;

    /// <summary>The granules of its page that it was decoded from; of a second page it is always the first.</summary>
    public ulong Granules;

    /// <summary>Its instructions. Null if it is one that was translated, of which only the bytes are kept; they follow the header (<see cref="BlockCache.Unfold"/>).</summary>
    public Op* Code;

    /// <summary>What is kept of it for its translations; null if it has none.</summary>
    public Block* Kept;

    /// <summary>The next block whose address has the same hash.</summary>
    public Block* Next;

    /// <summary>The next block that starts in the same physical page.</summary>
    public Block* PageNext;

    /// <summary>Of an instruction across a page end: the guest-physical address of the second page; else zero.</summary>
    public ulong Second;

    /// <summary>The next such block with the same second page.</summary>
    public Block* AcrossNext;

    /// <summary>How often the interpreter has run it; where it has a translation, counted anew from less than zero until it gets one for another address.</summary>
    public int Heat;

    /// <summary>The first of its translations, by the translator's number; zero for none.</summary>
    public int Translation;

    /// <summary>Bytes of guest code.</summary>
    public ushort Bytes;

    /// <summary>Bytes behind these that are no instruction.</summary>
    public byte Tail;

    /// <summary>The <see cref="Cpu.CpuMode"/> it was decoded for.</summary>
    public byte Mode;

    /// <summary>Guest instructions; one closing <see cref="Op"/> more may follow.</summary>
    public byte Count;

    /// <summary>All <see cref="Op"/>s.</summary>
    public byte Ops;

    /// <summary>It was decoded from bytes that are others now: all its instructions leave.</summary>
    public bool IsStale;

    /// <summary>The bytes that it was decoded from, those that are no instruction included.</summary>
    // SAFETY: they lie behind the header or, if there are any, behind the ops.
    public static ReadOnlySpan<byte> CodeOf(Block* block) => new(block->Code == null ? (byte*)(block + 1) : (byte*)(block->Code + block->Ops), block->Bytes + block->Tail);
}
