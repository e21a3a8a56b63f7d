// The x86 branch/call/jump filter of .xz files (format 1.2.1, section 5.3.2): the encoder made E8/E9 targets absolute.
using System.Buffers.Binary;

namespace Vmm.Guests.Compression;

/// <summary>Turns the absolute call and jump targets of BCJ-filtered x86 code back into relative ones.</summary>
internal static class X86BranchFilter
{
    private const int InstructionSize = 5;

    /// <summary>Decodes a whole block in place.</summary>
    /// <param name="code">The block, complete.</param>
    /// <param name="start">The filter's start offset, 0 unless the file gives one.</param>
    public static void Decode(Span<byte> code, uint start)
    {
        // One bit for each of the three bytes before the one looked at that was an opcode the encoder passed over; it
        // cannot tell an operand from an opcode, so nearby E8/E9 bytes change what it may convert.
        uint recent = 0;
        int previous = -1;
        for (int at = 0; at <= code.Length - InstructionSize; at++)
        {
            if ((code[at] & 0xFE) != 0xE8)
                continue;
            int gap = at - previous;
            previous = at;
            recent = gap > 3 ? 0 : (recent << (gap - 1)) & 7;
            // With two or more of them, or one of them its operand's, the encoder left the instruction alone.
            bool convertible = recent is 0 or 1 or 2 or 4;
            if (recent != 0 && (!convertible || IsSignByte(code[at + 4 - OperandByte(recent)])))
            {
                recent = (recent << 1) | 1;
                continue;
            }
            if (!IsSignByte(code[at + 4]))
            {
                recent = (recent << 1) | 1;
                continue;
            }
            Span<byte> operand = code.Slice(at + 1, 4);
            uint position = unchecked(start + (uint)at + InstructionSize);
            BinaryPrimitives.WriteUInt32LittleEndian(operand, ToRelative(BinaryPrimitives.ReadUInt32LittleEndian(operand), position, recent));
            at += 4;
            previous = at - 4;
            recent = 0;
        }
    }

    private static uint ToRelative(uint absolute, uint position, uint recent)
    {
        uint relative = unchecked(absolute - position);
        if (recent != 0)
        {
            int shift = 8 * OperandByte(recent);
            // Once is enough: the result is the complement of the absolute address, whose byte here is not a sign byte.
            if (IsSignByte((byte)(relative >> (24 - shift))))
                relative = unchecked((relative ^ ((1u << (32 - shift)) - 1)) - position);
        }
        // 25 significant bits, sign-extended.
        relative &= 0x01FF_FFFF;
        return (relative & 0x0100_0000) == 0 ? relative : relative | 0xFF00_0000;
    }

    private static bool IsSignByte(byte value) => value is 0x00 or 0xFF;

    private static int OperandByte(uint recent) => recent switch { 1 => 1, 2 or 3 => 2, _ => 3 };
}
