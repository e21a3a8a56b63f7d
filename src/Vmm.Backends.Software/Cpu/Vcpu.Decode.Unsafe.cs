using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;
using Vmm.Core.Memory;

namespace Vmm.Backends.Software.Cpu;

/// <summary>Finding blocks, and decoding what is not there yet.</summary>
internal sealed unsafe partial class Vcpu
{
    /// <summary>Finds or decodes the block at RIP. Null with a fault recorded where it cannot be fetched.</summary>
    private ref Op FindBlock()
    {
        if (!TryFindBlock()) return ref Leave();
        _current = _blocks.Unfold(_current);
        return ref BlockCache.First(_current);
    }

    // The same, but that the block may be what is kept of a translated one.
    private bool TryFindBlock()
    {
        ref var s = ref S;
        var rip = s.Rip;
        if (rip > s.CodeLimit)
        {
            return Raise(Vector.GP, 0);
        }

        var linear = rip + s.Seg[1].Base;
        var mode64 = (s.Mode & CpuMode.CodeMask) == CpuMode.Code64;
        if (!mode64) linear = (uint)linear;
        var user = s.Cpl == 3;
        var view = user ? Tlb.User : Tlb.Supervisor;
        if (!_tlb.TryFetch(user, linear, out var gpa, out _fetchGlobal))
        {
            if (!TryTranslate(linear, Access.Fetch, view, out gpa, out _fetchGlobal)) return false;
            _tlb.FillFetch(user, linear, gpa, _fetchGlobal);
        }

        var block = _blocks.Find(gpa, s.Mode);
        // What another processor has translated need not be decoded.
        if (block == null && _executor is { } executor) block = executor.Translator.Find(gpa, s.Mode);
        if (block != null && block->Second != 0)
        {
            if (!TryFetchNext(linear, view, out var second)) return false;
            if (second != block->Second) block = null;
        }

        if (block == null || rip + (uint)block->Bytes - 1 > s.CodeLimit)
        {
            block = Decode(rip, linear, gpa, view);
            if (block == null) return false;
        }

        if (block != _scratch && block->Second == 0 && !Translates && block->Code == (Op*)(block + 1))
        {
            var key = ((rip + s.Seg[1].Base) << CpuMode.Bits) | s.Mode;
            _blocks.AddJump(key, block);
        }

        s.Gpr[17] = rip;
        s.Budget -= block->Count;
        _current = block;
        return true;
    }

    // Made when it is needed.
    private Block* _scratch;

    private Block* Decode(ulong rip, ulong linear, ulong gpa, int view)
    {
        ref var s = ref S;
        var left = 4096 - (int)(linear & 0xFFF);
        if (s.CodeLimit - rip < (uint)left) left = (int)(s.CodeLimit - rip) + 1;
        var region = Partition.Memory.Find(gpa);
        if (region is not null)
        {
            // SAFETY: left does not pass the end of the page, which is inside the region.
            var code = new ReadOnlySpan<byte>((byte*)region.HostAddress + (gpa - region.Start), Math.Min(left, _code.Length));
            var copy = _code.AsSpan(0, code.Length);
            code.CopyTo(copy);
            var ops = _builder.Build(copy, s.Mode, false);
            if (ops.Length != 0)
            {
                Partition.MarkCode(this, region, gpa, _builder.Covered);
                if (!code[.._builder.Covered].SequenceEqual(copy[.._builder.Covered]))
                {
                    // Somebody writes to them at this moment. With all marked that may follow, what is written behind this copy drops the block.
                    Partition.MarkCode(this, region, gpa, code.Length);
                    code.CopyTo(copy);
                    ops = _builder.Build(copy, s.Mode, false);
                }
            }

            if (ops.Length != 0)
            {
                var block = _blocks.Add(gpa, CodeMap.Granules(gpa, (uint)_builder.Covered), s.Mode, _builder.Count, _builder.Bytes, copy[.._builder.Covered], ops);
                if (_executor is { } executor) block->Heat = executor.Translator.FirstHeat(gpa);
                return block;
            }
        }

        return DecodeAcross(rip, linear, gpa, left, view);
    }

    // One instruction that lies across a page end, or in I/O memory, where it is fetched byte by byte and never kept.
    private Block* DecodeAcross(ulong rip, ulong linear, ulong gpa, int left, int view)
    {
        ref var s = ref S;
        var have = Math.Min(left, 15);
        FetchPhysical(gpa, _bytes.AsSpan(0, have));
        var ops = _builder.Build(_bytes.AsSpan(0, have), s.Mode, true);
        if (ops.Length == 0 && have < 15)
        {
            if (rip + (uint)have > s.CodeLimit || rip + (uint)have < rip)
            {
                Raise(Vector.GP, 0);
                return null;
            }

            if (!TryFetchNext(linear, view, out var second)) return null;
            var more = (int)Math.Min((ulong)(15 - have), s.CodeLimit - rip - (uint)have + 1);
            if (more <= 0 || more > 15 - have) more = 15 - have;
            FetchPhysical(second, _bytes.AsSpan(have, more));
            ops = _builder.Build(_bytes.AsSpan(0, have + more), s.Mode, true);
            if (ops.Length != 0 && (linear + (uint)have & 0xFFF) == 0 && second != 0 && _blocks.Find(gpa, s.Mode) == null && TryMark(gpa, have, second, more))
            {
                return _blocks.Add(gpa, CodeMap.Granules(gpa, (uint)have), s.Mode, _builder.Count, _builder.Bytes, _bytes.AsSpan(0, _builder.Bytes), ops, second);
            }
        }

        if (ops.Length == 0)
        {
            Raise(Vector.GP, 0);
            return null;
        }

        // SAFETY: freed by Dispose.
        if (_scratch == null) _scratch = (Block*)NativeMemory.AllocZeroed((nuint)(sizeof(Block) + 2 * sizeof(Op)));
        *_scratch = new Block { Physical = gpa, Mode = (byte)s.Mode, Count = (byte)_builder.Count, Bytes = (ushort)_builder.Bytes, Ops = (byte)ops.Length, Code = (Op*)(_scratch + 1) };
        // SAFETY: the scratch block has room for one instruction and its closing op.
        ops.CopyTo(new Span<Op>(_scratch->Code, 2));
        return _scratch;
    }

    // The page behind, which must be there before an instruction across its start is run.
    private bool TryFetchNext(ulong linear, int view, out ulong gpa)
    {
        var next = (linear & ~0xFFFUL) + 4096;
        if (!Code64) next = (uint)next;
        if (!_tlb.TryFetch(S.Cpl == 3, next, out gpa, out var global))
        {
            if (!TryTranslate(next, Access.Fetch, view, out gpa, out global)) return false;
            _tlb.FillFetch(S.Cpl == 3, next, gpa, global);
        }

        // Such an instruction is global if both of its pages are.
        _fetchGlobal &= global;
        return true;
    }

    // Marks the bytes of an instruction in two pages. False if they are not as they were read before.
    private bool TryMark(ulong gpa, int have, ulong second, int more)
    {
        if (Partition.Memory.Find(gpa) is not { } region || Partition.Memory.Find(second) is not { } other) return false;
        Partition.MarkCode(this, region, gpa, have);
        Partition.MarkCode(this, other, second, more);
        if (!Partition.IsMarked(region, gpa, have)) return false;
        var bytes = _bytes.AsSpan(16, 16)[..(have + more)];
        FetchPhysical(gpa, bytes[..have]);
        FetchPhysical(second, bytes[have..]);
        return bytes.SequenceEqual(_bytes.AsSpan(0, have + more));
    }

    // The page of a block's guest code, or that code if it has two.
    private ReadOnlySpan<byte> Code(Block* block)
    {
        var region = Partition.Memory.Find(block->Physical);
        if (region is null) return default;
        // SAFETY: a block lies in one page of the region it was decoded from, unless it has a second one.
        if (block->Second == 0) return new ReadOnlySpan<byte>((byte*)region.HostAddress + ((block->Physical & ~0xFFFUL) - region.Start), 4096);
        var bytes = _bytes.AsSpan(0, block->Bytes);
        var have = Math.Min(4096 - (int)(block->Physical & 0xFFF), bytes.Length);
        FetchPhysical(block->Physical, bytes[..have]);
        FetchPhysical(block->Second, bytes[have..]);
        return bytes;
    }

    private void FetchPhysical(ulong gpa, Span<byte> bytes)
    {
        if (!Partition.Memory.TryRead(gpa, bytes)) ReadPhysicalIo(gpa, bytes);
    }
}
