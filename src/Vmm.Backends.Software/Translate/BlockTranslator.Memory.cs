using Iced.Intel;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>Memory operands: the linear address into R14, and a way past the TLB that leaves host memory at R14 + R15.</summary>
internal sealed unsafe partial class BlockTranslator
{
    /// <summary>Computes the linear address of the memory operand.</summary>
    private void EmitAddress(in Instruction instruction, bool segments = true)
    {
        var segment = instruction.MemorySegment is Register.FS ? 4 : instruction.MemorySegment is Register.GS ? 5 : -1;
        if (!segments) segment = -1;
        var (first, index) = (instruction.MemoryBase, instruction.MemoryIndex);
        if (first is Register.RIP or Register.EIP)
        {
            EmitConstantAddress(instruction.IPRelativeMemoryAddress, segment);
            return;
        }

        var wide = first != Register.None ? first.GetSize() == 8 : index == Register.None ? instruction.MemoryDisplSize != 4 : index.GetSize() == 8;
        if (first == Register.None && index == Register.None)
        {
            EmitConstantAddress(wide ? instruction.MemoryDisplacement64 : (uint)instruction.MemoryDisplacement64, segment);
            return;
        }

        var b = Resident(Number(first), R14);
        var i = Resident(Number(index), R15);
        _e.Lea(Linear, b, i, instruction.MemoryIndexScale, (int)instruction.MemoryDisplacement64, wide);
        if (segment < 0) return;
        _e.Load(Addend, StateLayout.SegmentBase(segment));
        _e.Lea(Linear, Linear, Addend, 1, 0);
    }

    private void EmitConstantAddress(ulong address, int segment)
    {
        if (segment < 0)
        {
            _e.Constant(Linear, address);
            return;
        }

        if ((ulong)(int)address == address)
        {
            _e.Load(Linear, StateLayout.SegmentBase(segment));
            if (address != 0) _e.Lea(Linear, Linear, -1, 1, (int)address);
            return;
        }

        _e.Constant(Linear, address);
        _e.Load(Addend, StateLayout.SegmentBase(segment));
        _e.Lea(Linear, Linear, Addend, 1, 0);
    }

    // The host register of a guest register, loaded into a free one if it lives in the state; -1 for none.
    private int Resident(int guest, int free)
    {
        if (guest < 0) return -1;
        var host = HostOf(guest);
        if (host >= 0) return host;
        _e.Load(free, Place(guest));
        return free;
    }

    /// <summary>
    /// The TLB, without a flag touched: the entry's negated tag plus the address of the last byte must lie below a page's size.
    /// An access that must be aligned tests those bits in the same step.
    /// </summary>
    private void EmitCheck(int size, bool write, int alignment = 1)
    {
        var site = _sites.Add(new Site { Translation = _t, Index = _index, Size = (byte)size, Write = write, Alignment = (byte)(alignment - 1) });
        var retry = _e.At;
        var tags = StateLayout.TlbTags(_t.View, write);
        _e.Extract(Rcx, Linear, StateLayout.IndexMask);
        _e.LoadIndexed(Addend, tags + Mmu.Tlb.Size * 8);
        _e.LoadIndexed(Rcx, tags);
        _e.Lea(Rcx, Rcx, Linear, 1, alignment == 1 ? size - 1 : 0);
        _e.Extract(Rcx, Rcx, alignment switch { 1 => StateLayout.PageMask, 16 => StateLayout.AlignedMask, _ => StateLayout.Aligned32Mask });
        var hit = _e.IfZero();
        _misses.Add((_e.Jump(), site, retry));
        _e.Bind(hit);
    }

    /// <summary>Loads the 8 bytes that a check has found.</summary>
    private void EmitLoadFound(int to) => EmitFound(0x8B, to);

    /// <summary>Stores 8 bytes where a check has found them.</summary>
    private void EmitStoreFound(int from) => EmitFound(0x89, from);

    private void EmitFound(byte opcode, int register)
    {
        _e.WriteByte((byte)(0x4B | (register >= 8 ? 4 : 0)));
        _e.WriteByte(opcode);
        _e.WriteByte((byte)((register & 7) << 3 | 4));
        _e.WriteByte((Addend & 7) << 3 | (Linear & 7));
    }

    private void EmitStoreFoundConstant(ulong value)
    {
        if ((ulong)(int)value == value)
        {
            _e.Bytes([0x4B, 0xC7, 0x04, 0x3E]);
            _e.Int((int)value);
            return;
        }

        _e.Constant(Rcx, value);
        EmitStoreFound(Rcx);
    }
}
