using System.Runtime.InteropServices;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Interpret;

namespace Vmm.Backends.Software.Translate;

/// <summary>All sites, by the number that code passes; and blocks of one instruction for those the interpreter does.</summary>
internal sealed unsafe class SiteTable : IDisposable
{
    private const int ChunkSize = 64 << 10;

    private readonly List<nint> _chunks = [];
    private Site[] _sites = new Site[4096];
    private int _count;
    private int _used = ChunkSize;

    public ref Site this[int index] => ref _sites[index];

    public int Add(in Site site)
    {
        if (_count == _sites.Length) Array.Resize(ref _sites, _count * 2);
        _sites[_count] = site;
        return _count++;
    }

    /// <summary>
    /// A copy of one instruction with an op behind it that stops. Its count is that of the instructions left in its block, so that
    /// accounting by <see cref="Cpu.Vcpu.Rewind"/> comes out the same.
    /// </summary>
    public nint AddSingle(Block* block, int index, in Op op)
    {
        var size = (sizeof(Block) + 2 * sizeof(Op) + 15) & ~15;
        if (_used + size > ChunkSize)
        {
            _chunks.Add((nint)NativeMemory.AlignedAlloc(ChunkSize, 64));
            _used = 0;
        }

        // SAFETY: the chunk has room for a header and two ops, as was just checked.
        var single = (Block*)(_chunks[^1] + _used);
        _used += size;
        *single = new Block { Physical = block->Physical, Mode = block->Mode, Count = block->Count - index, Bytes = block->Bytes, Ops = 2 };
        var ops = (Op*)(single + 1);
        ops[0] = op;
        ops[1] = new Op { Handler = ControlOps.Stop };
        return (nint)single;
    }

    /// <summary>Forgets all; no code may use them any more.</summary>
    public void Clear()
    {
        foreach (var chunk in _chunks) NativeMemory.AlignedFree((void*)chunk);
        _chunks.Clear();
        _used = ChunkSize;
        Array.Clear(_sites, 0, _count);
        _count = 0;
    }

    public void Dispose() => Clear();
}
