using Iced.Intel;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// Writes machine code. The instructions that surround relocated ones are encoded here, and none of them touches a flag; what
/// comes from the guest goes through Iced's encoder.
/// </summary>
internal sealed unsafe class Emitter : CodeWriter
{
    private readonly CodeMemory _memory;
    private readonly Encoder _encoder;
    private readonly bool _single;

    /// <param name="memory">Where code goes.</param>
    /// <param name="single">There is one processor, so that no code is run while it is changed.</param>
    public Emitter(CodeMemory memory, bool single)
    {
        (_memory, _single) = (memory, single);
        _encoder = Encoder.Create(64, this);
    }

    /// <summary>Offset of the next byte.</summary>
    public int At { get; set; }

    /// <summary>Offset of the next byte of the other part of the region: what seldom runs lies apart, so that hot code shares its cache lines with its like.</summary>
    public int Cold { get; set; }

    /// <summary>Set when <see cref="RegisterMap.Addend"/> was written: what it held is lost.</summary>
    public bool AddendLost { get; set; }

    /// <summary>Which guest register, of those that live in the state, RCX and R14 are copies of; -1 for none.</summary>
    public int HeldInRcx { get; private set; } = -1;

    public int HeldInLinear { get; private set; } = -1;

    /// <summary>A register was written: it is a copy of a guest register now, or (-1) of none.</summary>
    public void Hold(int register, int guest)
    {
        if (register == Rcx) HeldInRcx = guest;
        else if (register == Linear) HeldInLinear = guest;
    }

    /// <summary>A guest register in the state was written: copies of what it was are none any more.</summary>
    public void Renew(int guest)
    {
        if (HeldInRcx == guest) HeldInRcx = -1;
        if (HeldInLinear == guest) HeldInLinear = -1;
    }

    /// <summary>RCX and R14 may hold anything.</summary>
    public void Forget() => HeldInRcx = HeldInLinear = -1;

    /// <summary>Goes on in the other part.</summary>
    public void Switch() => (At, Cold) = (Cold, At);

    /// <inheritdoc/>
    // SAFETY: the cache makes sure that more room is left than any block needs before one is begun.
    public override void WriteByte(byte value) => _memory.Bytes[At++] = value;

    /// <summary>Encodes an instruction. False if its operands cannot be encoded together; nothing is written then.</summary>
    public bool TryEncode(in Instruction instruction)
    {
        var start = At;
        if (_encoder.TryEncode(instruction, 0, out _, out _)) return true;
        At = start;
        return false;
    }

    public void Bytes(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(new Span<byte>(_memory.Bytes + At, bytes.Length));
        At += bytes.Length;
    }

    public void Int(int value)
    {
        *(int*)(_memory.Bytes + At) = value;
        At += 4;
    }

    public void Move(int to, int from)
    {
        if (to == from) return;
        Note(to);
        Rex(true, from, 0, to);
        WriteByte(0x89);
        WriteByte((byte)(0xC0 | (from & 7) << 3 | (to & 7)));
    }

    /// <summary>Moves 16 bits of one of the lower registers; the others of the target stay.</summary>
    public void Move16(int to, int from)
    {
        WriteByte(0x66);
        Rex(false, from, 0, to);
        WriteByte(0x89);
        WriteByte((byte)(0xC0 | (from & 7) << 3 | (to & 7)));
    }

    /// <summary>Loads a constant by the shortest instruction.</summary>
    public void Constant(int to, ulong value)
    {
        Note(to);
        if (value <= uint.MaxValue)
        {
            Rex(false, 0, 0, to);
            WriteByte((byte)(0xB8 | (to & 7)));
            Int((int)value);
        }
        else if ((ulong)(int)value == value)
        {
            Rex(true, 0, 0, to);
            WriteByte(0xC7);
            WriteByte((byte)(0xC0 | (to & 7)));
            Int((int)value);
        }
        else
        {
            Rex(true, 0, 0, to);
            WriteByte((byte)(0xB8 | (to & 7)));
            Int((int)value);
            Int((int)(value >> 32));
        }
    }

    public void Load(int to, int place)
    {
        Note(to);
        Operation(true, 0x8B, to, place);
    }

    /// <summary>Loads 32 bits, zero-extended.</summary>
    public void Load32(int to, int place)
    {
        Note(to);
        Operation(false, 0x8B, to, place);
    }

    public void Store(int place, int from) => Operation(true, 0x89, from, place);

    public void Store32(int place, int from) => Operation(false, 0x89, from, place);

    /// <summary>Loads 16 bits into one of the lower registers, zero-extended.</summary>
    public void Load16(int to, int place)
    {
        Note(to);
        WriteByte(0x0F);
        WriteByte(0xB7);
        Stacked(to, place);
    }

    /// <summary>Stores 16 bits of one of the lower registers.</summary>
    public void Store16(int place, int from)
    {
        WriteByte(0x66);
        Operation(false, 0x89, from, place);
    }

    /// <summary>Stores a constant of 32 bits.</summary>
    public void StoreConstant32(int place, int value)
    {
        WriteByte(0xC7);
        Stacked(0, place);
        Int(value);
    }

    /// <summary>Stores a constant of 64 bits that 32 with a sign can say.</summary>
    public void StoreConstant(int place, int value)
    {
        Operation(true, 0xC7, 0, place);
        Int(value);
    }

    /// <summary>The sum of base and scaled index (either may be -1) and a displacement.</summary>
    public void Lea(int to, int @base, int index, int scale, int displacement, bool wide = true)
    {
        Note(to);
        Indexed(wide, 0x8D, to, @base, index, scale, displacement);
    }

    /// <summary>An instruction of one opcode byte with a register and an operand at the sum of base and scaled index (either may be -1) and a displacement.</summary>
    public void Indexed(bool wide, byte opcode, int register, int @base, int index, int scale, int displacement)
    {
        Rex(wide, register, Math.Max(index, 0), Math.Max(@base, 0));
        WriteByte(opcode);
        var reg = (register & 7) << 3;
        var log = System.Numerics.BitOperations.Log2((uint)scale) << 6;
        var i = index < 0 ? 4 : index & 7;
        if (@base < 0)
        {
            WriteByte((byte)(reg | 4));
            WriteByte((byte)(log | i << 3 | 5));
            Int(displacement);
            return;
        }

        var mod = displacement == 0 && (@base & 7) != 5 ? 0 : displacement is >= -128 and <= 127 ? 0x40 : 0x80;
        if (index < 0 && (@base & 7) != 4)
        {
            WriteByte((byte)(mod | reg | (@base & 7)));
        }
        else
        {
            WriteByte((byte)(mod | reg | 4));
            WriteByte((byte)(log | i << 3 | (@base & 7)));
        }

        if (mod == 0x40) WriteByte((byte)displacement);
        if (mod == 0x80) Int(displacement);
    }

    /// <summary>Loads from <c>base register + 8 * RCX + place</c>.</summary>
    public void LoadIndexed(int to, int place)
    {
        Note(to);
        Rex(true, to, Rcx, Rsp);
        WriteByte(0x8B);
        WriteByte((byte)(0x80 | (to & 7) << 3 | 4));
        WriteByte(3 << 6 | Rcx << 3 | Rsp);
        Int(place);
    }

    /// <summary>Stores a constant to <c>base register + 8 * RCX + place</c>.</summary>
    public void StoreIndexed(int place, int value)
    {
        Rex(true, 0, Rcx, Rsp);
        WriteByte(0xC7);
        WriteByte(0x80 | 4);
        WriteByte(3 << 6 | Rcx << 3 | Rsp);
        Int(place);
        Int(value);
    }

    /// <summary>Jumps to an address in one of R8 to R15.</summary>
    public void JumpTo(int register)
    {
        WriteByte(0x41);
        WriteByte(0xFF);
        WriteByte((byte)(0xE0 | (register & 7)));
    }

    /// <summary>Jumps to what a place holds.</summary>
    public void JumpPlace(int place)
    {
        WriteByte(0xFF);
        Stacked(4, place);
    }

    /// <summary>Gathers the bits that a mask in the state names.</summary>
    public void Extract(int to, int from, int place) => BitField(2, to, from, place);

    /// <summary>Spreads low bits over the bits that a mask in the state names.</summary>
    public void Deposit(int to, int from, int place) => BitField(3, to, from, place);

    /// <summary>RORX.</summary>
    public void RotateRight(int to, int from, int count)
    {
        Note(to);
        WriteByte(0xC4);
        WriteByte((byte)((to < 8 ? 0x80 : 0) | 0x40 | (from < 8 ? 0x20 : 0) | 3));
        WriteByte(0xFB);
        WriteByte(0xF0);
        WriteByte((byte)(0xC0 | (to & 7) << 3 | (from & 7)));
        WriteByte((byte)count);
    }

    // PEXT (prefix 2) or PDEP (3) with a mask in the state.
    private void BitField(int prefix, int to, int from, int place)
    {
        Note(to);
        WriteByte(0xC4);
        WriteByte((byte)((to < 8 ? 0x80 : 0) | 0x40 | 0x20 | 2));
        WriteByte((byte)(0x80 | (~from & 15) << 3 | prefix));
        WriteByte(0xF5);
        Stacked(to, place);
    }

    /// <summary>A short branch if RCX is zero, to be bound by <see cref="Bind"/>.</summary>
    public int IfZero()
    {
        WriteByte(0xE3);
        WriteByte(0);
        return At;
    }

    /// <summary>A short branch back if RCX is zero.</summary>
    public void IfZero(int target)
    {
        WriteByte(0xE3);
        WriteByte((byte)checked((sbyte)(target - (At + 1))));
    }

    /// <summary>Lets a short branch lead here.</summary>
    public void Bind(int branch) => _memory.Bytes[branch - 1] = checked((byte)(sbyte)(At - branch));

    /// <summary>
    /// The operand of the jump that follows will be changed while other processors may run it: it must lie within eight bytes that are fetched as one, so
    /// instructions that do nothing go before it.
    /// </summary>
    /// <param name="opcode">Bytes of the jump before the operand.</param>
    public void AlignOperand(int opcode)
    {
        if (_single) return;
        switch ((At + opcode & 7) - 4)
        {
            case 1: Bytes([0x0F, 0x1F, 0x00]); break;
            case 2: Bytes([0x66, 0x90]); break;
            case 3: WriteByte(0x90); break;
        }
    }

    /// <summary>A jump; returns where its operand is, for <see cref="CodeMemory.Patch"/>.</summary>
    public int Jump(int target = -1) => Relative(0xE9, target);

    public int Call(int target) => Relative(0xE8, target);

    /// <summary>A conditional jump of condition 0 to 15.</summary>
    public int JumpIf(int condition)
    {
        WriteByte(0x0F);
        return Relative((byte)(0x80 | condition), -1);
    }

    /// <summary>Lets the operand of a jump lead here.</summary>
    public void Land(int operand) => _memory.Patch(operand, At);

    /// <summary>An instruction of one opcode byte with a register and a place in the state.</summary>
    public void Operation(bool wide, byte opcode, int register, int place)
    {
        Rex(wide, register, 0, Rsp);
        WriteByte(opcode);
        Stacked(register, place);
    }

    /// <summary>ModRM, SIB and displacement of a place in the state.</summary>
    public void Stacked(int register, int place)
    {
        var mod = place == 0 ? 0 : place is >= -128 and <= 127 ? 0x40 : 0x80;
        WriteByte((byte)(mod | (register & 7) << 3 | 4));
        WriteByte(0x24);
        if (mod == 0x40) WriteByte((byte)place);
        if (mod == 0x80) Int(place);
    }

    private void Note(int written)
    {
        if (written == Addend) AddendLost = true;
        Hold(written, -1);
    }

    private int Relative(byte opcode, int target)
    {
        WriteByte(opcode);
        Int(0);
        if (target >= 0) _memory.Patch(At - 4, target);
        return At - 4;
    }

    private void Rex(bool wide, int reg, int index, int rm)
    {
        var rex = 0x40 | (wide ? 8 : 0) | (reg >= 8 ? 4 : 0) | (index >= 8 ? 2 : 0) | (rm >= 8 ? 1 : 0);
        if (rex != 0x40) WriteByte((byte)rex);
    }
}
