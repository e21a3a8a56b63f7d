using Iced.Intel;

namespace Vmm.Backends.Software.Translate;

/// <summary>What an instruction does to its operands, and to general registers that it does not name.</summary>
internal readonly struct OperandUse(ulong bits)
{
    /// <summary>Operands that are told of one by one; a fifth one is only read.</summary>
    public const int Operands = 4;

    private const int AccessBits = 3, ImpliedShift = Operands * AccessBits, PlaceShift = ImpliedShift + 16;

    /// <summary>How many bits there are.</summary>
    public const int Bits = PlaceShift + Operands;

    /// <summary>All of it.</summary>
    public ulong Value => bits;

    /// <summary>A bit for each general register that is written though no operand names it.</summary>
    public uint Implied => (ushort)(bits >> ImpliedShift);

    /// <summary>What is done to an operand.</summary>
    public OpAccess Access(int operand) => operand < Operands ? (OpAccess)(bits >> (operand * AccessBits) & 7) : OpAccess.Read;

    /// <summary>Whether an operand is, or may be, written.</summary>
    public bool Writes(int operand) => Access(operand) is not (OpAccess.Read or OpAccess.CondRead);

    /// <summary>Whether an operand that is a register can be one in memory instead.</summary>
    public bool TakesMemory(int operand) => operand < Operands && (bits >> (PlaceShift + operand) & 1) != 0;

    /// <summary>The same with what is done to an operand.</summary>
    public OperandUse With(int operand, OpAccess access) => new(bits | (ulong)access << (operand * AccessBits));

    /// <summary>The same with registers that are written though no operand names them.</summary>
    public OperandUse WithImplied(uint registers) => new(bits | (ulong)registers << ImpliedShift);

    /// <summary>The same with an operand that can be in memory.</summary>
    public OperandUse WithPlace(int operand) => new(bits | 1UL << (PlaceShift + operand));
}
