using Iced.Intel;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// Which memory accesses of a run of instructions lie near each other whatever the registers hold: several fields of one structure,
/// pushes and pops, a stack frame. The first of such a group is checked for all of them, so that the others need no look at the TLB.
/// Registers are followed as "an unknown value plus a constant". In hot code, groups whose addresses are known when the block is entered are
/// checked there, all in one go, by windows; as that changes nothing that the guest sees, they may hold reads and writes, accesses that must be
/// aligned, and some that are never made.
/// </summary>
internal sealed partial class AccessPlan
{
    /// <summary>Places in the state that keep addends of groups.</summary>
    public const int Slots = 16;

    // Farther apart, a group would too often lie across a page end.
    private const int LongestSpan = 512;

    // Values of these and of the sixteen registers have names from 1 on when the plan begins.
    public const int FsBase = 16, GsBase = 17, Constant = 18;

    // More at once would cost too much where the block is left early.
    private const int MostAtEntry = 12;

    private const long ValueMask = (1 << 28) - 1;

    // The name of what RSP holds at the entry: all code shares the windows on the stack, so that checks of it are cheap.
    private const long StackKey = Rsp + 1;

    private readonly OperandUses _uses;
    private readonly Access[] _accesses;
    private readonly Group[] _groups;
    private readonly long[] _value = new long[19];
    private readonly ulong[] _offset = new ulong[19];
    private readonly Dictionary<(int Times, long Value, long Other), long> _derived = [];
    private long _values;
    private int _count;
    private int _open;
    private int _inAddend;
    private bool _hot;
    private HashSet<int>? _unsteady;
    private bool _entered;
    private int _atEntry;

    /// <param name="capacity">The most instructions.</param>
    /// <param name="uses">What instructions do to their operands.</param>
    public AccessPlan(int capacity, OperandUses uses)
    {
        _uses = uses;
        _accesses = new Access[capacity * 2];
        _groups = new Group[capacity * 2];
    }

    /// <summary>Whether groups that begin may be checked where the block is entered.</summary>
    public bool ChecksAtEntry { get; set; }

    /// <summary>Whether there is any access.</summary>
    public bool HasAccesses { get; private set; }

    /// <summary>How many groups there are.</summary>
    public int Count => _count;

    /// <summary>A group of accesses.</summary>
    public ref readonly Group this[int group] => ref _groups[group];

    /// <summary>The access of an instruction: 0 is that of its memory operand or, if it has none, of the stack; 1 that of the stack.</summary>
    public ref readonly Access Of(int instruction, int ordinal) => ref _accesses[instruction * 2 + ordinal];

    /// <summary>Begins a plan.</summary>
    /// <param name="hot">Whether the code is hot.</param>
    /// <param name="unsteady">Accesses that go from page to page too often for a window.</param>
    public void Begin(bool hot, HashSet<int>? unsteady)
    {
        _unsteady = unsteady;
        _hot = hot;
        _count = _open = _atEntry = 0;
        _inAddend = -1;
        Forget();
        (_entered, ChecksAtEntry, HasAccesses) = (true, hot, false);
    }

    /// <summary>Adds an instruction.</summary>
    /// <param name="index">Its number, from 0 on.</param>
    /// <param name="instruction">The instruction.</param>
    /// <param name="kind">How it will be translated.</param>
    public void Add(int index, in Instruction instruction, RelocatableKind kind)
    {
        _accesses[index * 2] = _accesses[index * 2 + 1] = new Access { Group = -1 };
        if (UsesPlaces(instruction)) _inAddend = -1;
        switch (kind)
        {
            case RelocatableKind.Nothing: return;
            case RelocatableKind.Integer or RelocatableKind.Vector or RelocatableKind.X87 or RelocatableKind.Divide:
                AddOperand(index, instruction);
                break;
            case RelocatableKind.Stack:
                AddStack(index, instruction);
                return;
            case RelocatableKind.Branch:
                AddBranch(index, instruction);
                return;
            case RelocatableKind.FarBit or RelocatableKind.Wide:
                _inAddend = -1;
                DoubtReturns();
                break;
            default:
                // The interpreter may do anything meanwhile.
                Close();
                Forget();
                return;
        }

        Track(instruction);
    }

    /// <summary>Ends the plan: the members of every group are known.</summary>
    public void End()
    {
        var slots = 0;
        for (var g = 0; g < _count; g++)
        {
            ref var group = ref _groups[g];
            if (group.AtEntry || group.Members == 1) continue;
            group.Slot = group.Stored && slots < Slots ? slots++ : -1;
        }
    }

    // No access may count on what was checked before.
    private void Close()
    {
        _open = _count;
        _inAddend = -1;
    }

    /// <summary>The addend's register is used for something else.</summary>
    public void LoseAddend() => _inAddend = -1;

    private void AddOperand(int index, in Instruction instruction)
    {
        for (var i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) != OpKind.Memory) continue;
            HasAccesses = true;
            var alignment = Relocatable.Alignment(instruction);
            // A LOCK that is not aligned is dear to the host, and across pages it takes another.
            if (_hot && _entered && Relocatable.IsLocked(instruction)) alignment = instruction.MemorySize.GetSize();
            var write = _uses.Of(instruction).Writes(i);
            if ((alignment != 1 && !(_hot && _entered)) || !TryPlace(instruction, out var key, out var offset))
            {
                _inAddend = -1;
                if (write) DoubtReturns();
                return;
            }

            Join(index * 2, key, offset, instruction.MemorySize.GetSize(), write, alignment);
            return;
        }
    }

    private void AddStack(int index, in Instruction instruction)
    {
        switch (instruction.Code)
        {
            case Code.Push_r64 or Code.Pushq_imm8 or Code.Pushq_imm32:
                Push(index * 2);
                return;
            case Code.Push_rm64:
                AddOperand(index, instruction);
                Push(index * 2 + (instruction.Op0Kind == OpKind.Memory ? 1 : 0));
                return;
            case Code.Pop_r64:
                Join(index * 2, _value[Rsp], _offset[Rsp], 8, false);
                _offset[Rsp] += 8;
                Renew(Number(instruction.Op0Register));
                return;
            case Code.Leaveq:
                Join(index * 2, _value[Rbp], _offset[Rbp], 8, false);
                (_value[Rsp], _offset[Rsp]) = (_value[Rbp], _offset[Rbp] + 8);
                Renew(Rbp);
                return;
            case Code.Lea_r64_m or Code.Lea_r32_m:
                Track(instruction);
                return;
            default:
                Close();
                Forget();
                return;
        }
    }

    private void AddBranch(int index, in Instruction instruction)
    {
        switch (instruction.Code)
        {
            case Code.Call_rel32_64:
                Push(index * 2);
                NoteCall(instruction.NextIP);
                return;
            case Code.Retnq or Code.Retnq_imm16:
                Join(index * 2, _value[Rsp], _offset[Rsp], 8, false);
                _accesses[index * 2].IsCertain = NoteReturn();
                _offset[Rsp] += 8 + (instruction.Code == Code.Retnq ? 0UL : instruction.Immediate16);
                return;
            case Code.Jmp_rm64:
                AddOperand(index, instruction);
                return;
            case Code.Call_rm64:
                AddOperand(index, instruction);
                _inAddend = -1;
                Push(index * 2 + (instruction.Op0Kind == OpKind.Memory ? 1 : 0));
                return;
        }
    }

    private void Push(int access)
    {
        _offset[Rsp] -= 8;
        Join(access, _value[Rsp], _offset[Rsp], 8, true);
    }

    private void Join(int at, long key, ulong offset, int size, bool write, int alignment = 1)
    {
        HasAccesses = true;
        if (write) NoteWrite(key, offset, size);
        for (var g = _count - 1; g >= _open; g--)
        {
            ref var group = ref _groups[g];
            if (group.Key != key) continue;
            // What was read need not be writable; what was written can be read.
            if (write && !group.Write && !group.AtEntry) continue;
            var low = (long)(offset - group.Low) < 0 ? offset : group.Low;
            var end = (long)(offset + (ulong)size - group.End) > 0 ? offset + (ulong)size : group.End;
            if (group.AtEntry)
            {
                if (alignment != 1 && group.Alignment != 1 && (group.Alignment != alignment || ((offset - group.Anchor) & ((ulong)alignment - 1)) != 0)) continue;
                var (most, anchor) = alignment == 1 ? (group.Alignment, group.Anchor) : (alignment, offset);
                low -= (low - anchor) & ((ulong)most - 1);
                if (end - low > LongestSpan || !IsReachable(key, low)) continue;
                (group.Alignment, group.Anchor) = (most, anchor);
                group.Write |= write;
            }
            else if (alignment != 1 || end - low > LongestSpan)
            {
                continue;
            }

            (group.Low, group.End) = (low, end);
            group.Members++;
            _accesses[at] = new Access { Group = g, Offset = offset };
            if (_inAddend != g) group.Stored = true;
            _inAddend = g;
            return;
        }

        var atEntry = (ChecksAtEntry || key == StackKey) && _hot && _entered && _atEntry < MostAtEntry && _unsteady?.Contains(at) != true && IsEntryKey(key) && IsReachable(key, offset);
        if (atEntry) _atEntry++;
        else if (alignment != 1)
        {
            _inAddend = -1;
            return;
        }

        _groups[_count] = new Group { Key = key, Low = offset, End = offset + (ulong)size, Write = write, Members = 1, Slot = -1, AtEntry = atEntry, Alignment = alignment, Anchor = offset, Leader = at };
        _accesses[at] = new Access { Group = _count, Offset = offset, Leads = true };
        _inAddend = _count++;
    }

    /// <summary>What a group's address consists of when the block is entered: registers, <see cref="FsBase"/>, <see cref="GsBase"/>; -1 for none.</summary>
    public static (int First, int Index, int Scale) Parts(long key) => (Part(key & ValueMask), Part((key >> 28) & ValueMask), (int)(key >> 56));

    private static int Part(long value) => value == Constant + 1 ? -1 : (int)value - 1;

    // Whether the unknown values are those of the entry.
    private static bool IsEntryKey(long key) => (key & ValueMask) <= Constant + 1 && ((key >> 28) & ValueMask) <= Constant + 1;

    // Whether a displacement has room for the constant.
    private static bool IsReachable(long key, ulong offset) => Parts(key) is { First: < 0, Index: < 0 } || (ulong)(int)offset == offset;

    // The operand's address as an unknown value, named by the key, and a constant.
    private bool TryPlace(in Instruction instruction, out long key, out ulong offset)
    {
        (key, offset) = (0, 0);
        var segment = instruction.MemorySegment is Register.FS ? FsBase : instruction.MemorySegment is Register.GS ? GsBase : -1;
        var (first, index) = (instruction.MemoryBase, instruction.MemoryIndex);
        if (first == Register.RIP)
        {
            (key, offset) = (_value[Constant], instruction.IPRelativeMemoryAddress);
            return segment < 0;
        }

        if (first == Register.None && index == Register.None)
        {
            if (instruction.MemoryDisplSize == 4) return false;
            (key, offset) = (_value[segment < 0 ? Constant : segment], instruction.MemoryDisplacement64);
            return true;
        }

        if (segment >= 0 || (first != Register.None && first.GetSize() != 8) || (index != Register.None && index.GetSize() != 8)) return false;
        offset = instruction.MemoryDisplacement64;
        if (first != Register.None)
        {
            key = _value[Number(first)];
            offset += _offset[Number(first)];
        }

        if (index != Register.None)
        {
            var scale = (ulong)instruction.MemoryIndexScale;
            key |= _value[Number(index)] << 28 | (long)scale << 56;
            offset += _offset[Number(index)] * scale;
        }

        return true;
    }

    // Whether a guest register that lives in the state is named, for which the addend's register may be borrowed.
    private static bool UsesPlaces(in Instruction instruction)
    {
        for (var i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register && InPlace(instruction.GetOpRegister(i))) return true;
        }

        return InPlace(instruction.MemoryBase) || InPlace(instruction.MemoryIndex);
    }

    private static bool InPlace(Register register) => Number(register) is >= 0 and var number && HostOf(number) < 0;

    /// <summary>One access.</summary>
    internal struct Access
    {
        /// <summary>Its group; -1 for none.</summary>
        public int Group;

        /// <summary>Its address less the group's unknown value.</summary>
        public ulong Offset;

        /// <summary>It is the first of its group.</summary>
        public bool Leads;

        /// <summary>It reads what a call has pushed, which nothing but other processors and devices can have overwritten.</summary>
        public bool IsCertain;
    }

    /// <summary>Accesses that are checked together.</summary>
    internal struct Group
    {
        /// <summary>Names the unknown value.</summary>
        public long Key;

        /// <summary>First byte and the one behind the last, less the unknown value.</summary>
        public ulong Low, End;

        /// <summary>Whether the first writes.</summary>
        public bool Write;

        /// <summary>How many there are.</summary>
        public int Members;

        /// <summary>Whether something else uses the addend's register in between.</summary>
        public bool Stored;

        /// <summary>Where the addend is kept; -1 for nowhere.</summary>
        public int Slot;

        /// <summary>Whether it is checked where the block is entered.</summary>
        public bool AtEntry;

        /// <summary>The first access, as the instructions' accesses are numbered.</summary>
        public int Leader;

        /// <summary>What a member must be aligned to, and the offset of one that is.</summary>
        public int Alignment;
        public ulong Anchor;
    }
}
