using System.Runtime.InteropServices;

namespace Vmm.Backends.Software.Decode;

/// <summary>The header of a run of decoded instructions in native memory; its <see cref="Op"/>s follow it.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Block
{
    /// <summary>Guest-physical address of the first byte.</summary>
    public ulong Physical;

    /// <summary>The granules of its page that it was decoded from; of a second page it is always the first.</summary>
    public ulong Granules;

    /// <summary>The next block that starts in the same physical page.</summary>
    public Block* PageNext;

    /// <summary>Of an instruction across a page end: the guest-physical address of the second page; else zero.</summary>
    public ulong Second;

    /// <summary>The next such block with the same second page.</summary>
    public Block* AcrossNext;

    /// <summary>The <see cref="Cpu.CpuMode"/> it was decoded for.</summary>
    public uint Mode;

    /// <summary>Guest instructions; one closing <see cref="Op"/> more may follow.</summary>
    public int Count;

    /// <summary>Bytes of guest code.</summary>
    public int Bytes;

    /// <summary>All <see cref="Op"/>s.</summary>
    public int Ops;

    /// <summary>How often the interpreter has run it, until it is translated.</summary>
    public int Heat;

    /// <summary>The first of its translations, by the translator's number; zero for none.</summary>
    public int Translation;
}
