using Iced.Intel;
using Vmm.Backends.Software.Mmu;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// Memory operands: a way past the TLB that leaves the addend in R15, so that the operand is at that plus <see cref="_base"/> and
/// <see cref="_displacement"/>.
/// </summary>
internal sealed unsafe partial class BlockTranslator
{
    // The host register that holds the rest of the operand's address (-1: none does) and a displacement.
    private int _base;
    private int _displacement;

    // The operand is read, or written, and that is all that the instruction can fault for.
    private bool _alone;

    // Which access is at hand, as the plan numbers them.
    private int _access;

    // The group whose addend is in its register, unless the emitter says that it was lost.
    private int _addendOf;

    // A group can be counted on if it was checked since the last barrier.
    private int _barrier;
    private readonly int[] _checked = new int[MaximumInstructions * 2];

    /// <summary>Finds the memory operand; what it needs of R14 and R15 is overwritten, unless they are kept.</summary>
    private void EmitOperand(in Instruction instruction, int size, bool write, int alignment = 1)
    {
        if (TryKept(instruction)) return;
        (_indexRegister, _indexScale) = (Addend, 1);
        var (first, displacement) = Locate(instruction);
        EmitCheck(first, displacement, 0, size, write, alignment);
    }

    /// <summary>Finds eight bytes of the stack.</summary>
    private void EmitStack(int displacement, bool write, int ordinal = 0) => EmitCheck(s_stack, displacement, ordinal, 8, write);

    /// <summary>Finds bytes at the address in R14, which they are not grouped with others by.</summary>
    private void EmitLinear(int size, bool write, int alignment = 1)
    {
        _access = (_first + _index) * 2;
        EmitLook(Linear, 0, new Site { Size = (byte)size, Write = write, Alignment = (byte)(alignment - 1) }, size, 0);
    }

    // The operand's linear address as a host register (or none, for a constant) and a displacement.
    private (int First, long Displacement) Locate(in Instruction instruction)
    {
        var segment = Segment(instruction);
        var (first, index) = (instruction.MemoryBase, instruction.MemoryIndex);
        if (index == Register.None)
        {
            if (first == Register.RIP && segment < 0) return (-1, (long)instruction.IPRelativeMemoryAddress);
            if (first == Register.None && instruction.MemoryDisplSize != 4)
            {
                var address = (long)instruction.MemoryDisplacement64;
                if (segment < 0) return (-1, address);
                if ((int)address == address)
                {
                    _e.Load(Linear, StateLayout.SegmentBase(segment));
                    return (Linear, address);
                }
            }

            if (first is >= Register.RAX and <= Register.R15 && segment < 0) return (Resident(Number(first), Linear), (int)instruction.MemoryDisplacement64);
        }

        EmitAddress(instruction, segment);
        return (Linear, 0);
    }

    private static int Segment(in Instruction instruction) => instruction.MemorySegment is Register.FS ? 4 : instruction.MemorySegment is Register.GS ? 5 : -1;

    /// <summary>Computes the address of the memory operand into R14, with a segment's base added unless it is -1.</summary>
    private void EmitAddress(in Instruction instruction, int segment)
    {
        var (first, index) = (instruction.MemoryBase, instruction.MemoryIndex);
        if (first is Register.RIP or Register.EIP)
        {
            EmitConstantAddress(instruction.IPRelativeMemoryAddress, segment);
            return;
        }

        var wide = IsWide(instruction);
        if (first == Register.None && index == Register.None)
        {
            EmitConstantAddress(wide ? instruction.MemoryDisplacement64 : (uint)instruction.MemoryDisplacement64, segment);
            return;
        }

        var i = Resident(Number(index), R15);
        var b = Resident(Number(first), i == R14 ? R15 : R14);
        _e.Lea(Linear, b, i, instruction.MemoryIndexScale, (int)instruction.MemoryDisplacement64, wide);
        if (segment < 0) return;
        _e.Load(Addend, StateLayout.SegmentBase(segment));
        _e.Lea(Linear, Linear, Addend, 1, 0);
    }

    // Whether the operand's address has 64 bits.
    private static bool IsWide(in Instruction instruction) =>
        instruction.MemoryBase != Register.None ? instruction.MemoryBase.GetSize() == 8
        : instruction.MemoryIndex == Register.None ? instruction.MemoryDisplSize != 4 : instruction.MemoryIndex.GetSize() == 8;

    private void EmitConstantAddress(ulong address, int segment)
    {
        _e.Constant(Linear, address);
        if (segment < 0) return;
        _e.Load(Addend, StateLayout.SegmentBase(segment));
        _e.Lea(Linear, Linear, Addend, 1, 0);
    }

    // The host register of a guest register, loaded into a free one if it lives in the state; -1 for none.
    private int Resident(int guest, int free)
    {
        if (guest < 0) return -1;
        var host = HostOf(guest);
        if (host >= 0) return host;
        if (_e.HeldInLinear == guest) return Linear;
        if (_e.HeldInRcx == guest) _e.Move(free, Rcx);
        else _e.Load(free, Place(guest));
        return free;
    }

    // The first access of a group is checked for all of it; the others take over its addend.
    private void EmitCheck(int first, long displacement, int ordinal, int size, bool write, int alignment = 1)
    {
        _access = (_first + _index) * 2 + ordinal;
        var access = _grouped ? _plan.Of(_first + _index, ordinal) : new AccessPlan.Access { Group = -1 };
        var before = access.Group < 0 ? 0 : (int)(access.Offset - _plan[access.Group].Low);
        if (access.Group < 0 || (_plan[access.Group].AtEntry ? _checked[access.Group] != _barrier : _plan[access.Group].Members == 1) || (first >= 0 && (int)(displacement - before) != displacement - before))
        {
            EmitLook(first, displacement, new Site { Size = (byte)size, Write = write, Alignment = (byte)(alignment - 1) }, size, 0);
            return;
        }

        ref readonly var group = ref _plan[access.Group];
        if (group.AtEntry)
        {
            if (_addendOf != access.Group || _e.AddendLost)
            {
                _e.Load(Addend, StateLayout.Window(_entryWindows[access.Group]) + StateLayout.WindowAddend);
                (_addendOf, _e.AddendLost) = (access.Group, false);
            }

            SetBase(first, displacement);
            return;
        }

        if (access.Leads)
        {
            EmitLook(first, displacement, new Site { Size = (byte)size, Write = write, Offset = (short)before }, (int)(group.End - group.Low), before);
            if (group.Slot >= 0) _e.Store(StateLayout.GroupAddend(group.Slot), Addend);
            (_addendOf, _e.AddendLost) = (access.Group, false);
            _checked[access.Group] = _barrier;
            return;
        }

        var kept = _addendOf == access.Group && !_e.AddendLost;
        if (_checked[access.Group] != _barrier || (!kept && group.Slot < 0))
        {
            EmitLook(first, displacement, new Site { Size = (byte)size, Write = write }, size, 0);
            return;
        }

        if (!kept)
        {
            _e.Load(Addend, StateLayout.GroupAddend(group.Slot));
            (_addendOf, _e.AddendLost) = (access.Group, false);
        }

        SetBase(first, displacement);
    }

    private void SetBase(int first, long displacement)
    {
        if (first < 0 && (int)displacement != displacement)
        {
            _e.Constant(Linear, (ulong)displacement);
            (first, displacement) = (Linear, 0);
        }

        (_base, _displacement) = (first, (int)displacement);
    }

    /// <summary>
    /// The TLB, without a flag touched: the entry's negated tag plus the address of the last byte must lie below a page's size.
    /// An access that must be aligned tests those bits in the same step.
    /// </summary>
    /// <param name="first">The host register of the address, or -1.</param>
    /// <param name="displacement">What is added to it.</param>
    /// <param name="site">The access.</param>
    /// <param name="span">Bytes that must lie in one page.</param>
    /// <param name="before">How many of them are before the access.</param>
    private void EmitLook(int first, long displacement, Site site, int span, int before)
    {
        (site.Translation, site.Index, site.Alone) = (_t, _index, _alone);
        EmitLookAt(first, displacement, site, span, before);
        // What is done on a miss uses them.
        _e.Forget();
    }

    private void EmitLookAt(int first, long displacement, in Site site, int span, int before)
    {
        if (TryEmitWindow(first, displacement, site, span, before)) return;
        var last = site.Alignment == 0 ? span - 1 : 0;
        var low = displacement - before;
        int register, retry;
        if (first < 0)
        {
            // A constant's place in the TLB is known.
            SetBase(-1, displacement);
            register = _base;
            if (register == Linear && before != 0)
            {
                _e.Lea(Linear, Linear, -1, 1, -before);
                _displacement = before;
            }

            retry = _e.At;
            var tag = StateLayout.TlbTags(_t.View, site.Write) + (int)Tlb.Slot((ulong)low) * 8;
            _e.Load(Addend, tag + Tlb.Size * 8);
            _e.Load(Rcx, tag);
            if (register < 0 && (int)(low + last) != low + last)
            {
                // Only just representable: not so at the end of the group.
                _e.Constant(Linear, (ulong)low);
                _e.Lea(Rcx, Rcx, Linear, 1, last);
            }
            else
            {
                _e.Lea(Rcx, Rcx, register, 1, register < 0 ? (int)(low + last) : last);
            }
        }
        else
        {
            register = first;
            _displacement = (int)displacement;
            if (low != 0)
            {
                _e.Lea(Linear, first, -1, 1, (int)low);
                register = Linear;
                if (first == Linear) _displacement = before;
            }

            _base = first;
            retry = _e.At;
            EmitIndex(register, site, last);
        }

        EmitPageTest(site);
        var hit = _e.IfZero();
        _misses.Add(new Miss(_e.Jump(), _sites.Add(site), retry, register, (ulong)low, span > site.Size ? span : 0, site.Write, _t, _index));
        _e.Bind(hit);
    }

    // The entry of an address: the addend, and in RCX the last byte's distance from the page.
    private void EmitIndex(int register, in Site site, int last)
    {
        var tags = StateLayout.TlbTags(_t.View, site.Write);
        _e.Extract(Rcx, register, StateLayout.IndexMask);
        _e.LoadIndexed(Addend, tags + Tlb.Size * 8);
        _e.LoadIndexed(Rcx, tags);
        _e.Lea(Rcx, Rcx, register, 1, last);
    }

    private void EmitPageTest(in Site site) =>
        _e.Extract(Rcx, Rcx, site.Alignment switch { 0 => StateLayout.PageMask, 15 => StateLayout.AlignedMask, _ => StateLayout.Aligned32Mask });

    // What is done when the TLB does not cover an access.
    private void EmitMiss(in Miss miss)
    {
        _e.Land(miss.Operand);
        EmitFill(miss);
    }

    // C# fills the TLB, or has the interpreter go on. What writes beside code in its page goes on without the TLB, and comes back with zero in RCX.
    private void EmitFill(in Miss miss)
    {
        var access = _vectors ? _stubs.VectorAccess : _stubs.Access;
        if (miss.Register < 0) _e.Constant(Linear, miss.Address);
        else _e.Move(Linear, miss.Register);
        if (miss.Span > 0)
        {
            _e.Extract(Rcx, Linear, StateLayout.OffsetMask);
            _e.Lea(Rcx, Rcx, -1, 1, miss.Span - 1);
            _e.Extract(Rcx, Rcx, StateLayout.PageMask);
            var one = _e.IfZero();
            // A jump to what follows, until there is code that it leads to.
            _e.AlignOperand(1);
            var rest = _e.Jump();
            _e.Land(rest);
            _e.Constant(Rcx, (uint)_sites.Add(new Site { Translation = miss.Translation, Index = miss.Index, Crosses = true, Patch = rest }));
            _e.Call(_vectors ? _stubs.VectorAccess : _stubs.Access);
            _e.Bind(one);
        }

        _e.Constant(Rcx, (uint)miss.Site);
        _e.Call(_stubs.Behind.Access(miss.Translation.View, miss.Write, _vectors));
        if (!miss.Write)
        {
            _e.Jump(miss.Retry);
            return;
        }

        var beside = _e.IfZero();
        _e.Jump(miss.Retry);
        _e.Bind(beside);
        _e.Jump(miss.Operand + 4);
        // For the stub.
        ref var site = ref _sites[miss.Site];
        _e.Int((miss.Span > 0 ? miss.Span : site.Size) - 1 | site.Alignment << 16);
    }

    /// <summary>Loads the 8 bytes that a check has found.</summary>
    private void EmitLoadFound(int to)
    {
        if (to == Addend) _e.AddendLost = true;
        EmitFound(0x8B, to);
    }

    /// <summary>Stores 8 bytes where a check has found them.</summary>
    private void EmitStoreFound(int from) => EmitFound(0x89, from);

    private void EmitFound(byte opcode, int register, bool wide = true) =>
        _e.Indexed(wide, opcode, register, _base < 0 ? Addend : _base, _base < 0 ? -1 : Addend, 1, _displacement);

    private void EmitStoreFoundConstant(ulong value)
    {
        if ((ulong)(int)value == value)
        {
            EmitFound(0xC7, 0);
            _e.Int((int)value);
            return;
        }

        _e.Constant(Rcx, value);
        EmitStoreFound(Rcx);
    }

    /// <summary>A check whose miss is emitted apart.</summary>
    /// <param name="Operand">The jump's operand.</param>
    /// <param name="Site">The access.</param>
    /// <param name="Retry">Where it is tried again.</param>
    /// <param name="Register">Holds the address; -1 if it is a constant.</param>
    /// <param name="Address">The constant.</param>
    /// <param name="Span">Bytes of the group if that is more than one access; else zero.</param>
    /// <param name="Write">Whether it writes.</param>
    /// <param name="Translation">Where it is.</param>
    /// <param name="Index">The instruction.</param>
    private readonly record struct Miss(int Operand, int Site, int Retry, int Register, ulong Address, int Span, bool Write, Translation Translation, int Index);
}
