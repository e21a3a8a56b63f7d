// Intel SDM vol. 1, 12.10.2 and vol. 2B, 4.1 (imm8 control byte): PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM.
using System.Numerics;
using System.Runtime.Intrinsics;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>
/// The string comparisons of SSE4.2. Extra tells the variants apart: <see cref="Explicit"/> lengths, <see cref="WideLengths"/> in
/// 64-bit registers, <see cref="Mask"/> rather than index, <see cref="Vex"/>.
/// </summary>
internal static partial class VectorStringOps
{
    private const int Explicit = 1, WideLengths = 2, Mask = 4, Vex = 8;

    private static ref Op CompareRegister(Vcpu cpu, ref Op op) => ref Compare(cpu, ref op, cpu.Xmm<byte>(op.B));

    // Memory need not be aligned, in the legacy encoding either.
    private static ref Op CompareMemory(Vcpu cpu, ref Op op)
    {
        if (!cpu.TryLoad<Vector128<byte>>(ref op, out var second)) return ref cpu.Fault(ref op);
        return ref Compare(cpu, ref op, second);
    }

    private static ref Op Compare(Vcpu cpu, ref Op op, Vector128<byte> second)
    {
        var control = (int)op.Imm;
        var first = cpu.Xmm<byte>(op.A);
        var count = (control & 1) != 0 ? 8 : 16;
        int firstLength, secondLength;
        if ((op.Extra & Explicit) != 0)
        {
            firstLength = Length(cpu.Gpr(0), op.Extra, count);
            secondLength = Length(cpu.Gpr(2), op.Extra, count);
        }
        else
        {
            firstLength = Length(first, count);
            secondLength = Length(second, count);
        }

        var all = count == 8 ? 0xFFu : 0xFFFFu;
        var result = Aggregate(first, second, control, count, firstLength, secondLength);
        result = (control >> 4 & 3) switch
        {
            1 => ~result & all,
            3 => result ^ ((1u << secondLength) - 1),
            _ => result,
        };

        if ((op.Extra & Mask) != 0) SetMask(cpu, op.Extra, control, count, result);
        else cpu.Gpr(1) = result == 0 ? (uint)count : (control & 0x40) != 0 ? (uint)BitOperations.Log2(result) : (uint)BitOperations.TrailingZeroCount(result);
        cpu.S.SetArithmetic((result != 0 ? Flags.CF : 0) | (secondLength < count ? Flags.ZF : 0) | (firstLength < count ? Flags.SF : 0) | ((result & 1) != 0 ? Flags.OF : 0));
        return ref Vcpu.Next(ref op);
    }

    private static void SetMask(Vcpu cpu, int variant, int control, int count, uint result)
    {
        var mask = Vector128.CreateScalar(result).AsByte();
        if ((control & 0x40) != 0)
        {
            for (var i = 0; i < 16; i++) mask = mask.WithElement(i, (result >> (count == 8 ? i / 2 : i) & 1) != 0 ? (byte)0xFF : (byte)0);
        }

        if ((variant & Vex) != 0) cpu.Ymm<byte>(0) = mask.ToVector256();
        else cpu.Xmm<byte>(0) = mask;
    }

    /// <summary>IntRes1: what the aggregation finds for each element of the second string.</summary>
    private static uint Aggregate(Vector128<byte> first, Vector128<byte> second, int control, int count, int firstLength, int secondLength)
    {
        var result = 0u;
        for (var j = 0; j < count; j++)
        {
            var found = (control >> 2 & 3) switch
            {
                0 => j < secondLength && IsAny(first, Element(second, j, control), control, firstLength),
                1 => j < secondLength && IsInRange(first, Element(second, j, control), control, firstLength),
                2 => j < firstLength && j < secondLength ? Element(first, j, control) == Element(second, j, control) : j >= firstLength && j >= secondLength,
                _ => IsPrefix(first, second, j, control, count, firstLength, secondLength),
            };
            if (found) result |= 1u << j;
        }

        return result;
    }

    private static bool IsAny(Vector128<byte> set, int element, int control, int length)
    {
        for (var i = 0; i < length; i++)
        {
            if (Element(set, i, control) == element) return true;
        }

        return false;
    }

    private static bool IsInRange(Vector128<byte> ranges, int element, int control, int length)
    {
        for (var i = 0; i + 1 < length; i += 2)
        {
            if (Element(ranges, i, control) <= element && element <= Element(ranges, i + 1, control)) return true;
        }

        return false;
    }

    // What lies past the end of the register counts as found.
    private static bool IsPrefix(Vector128<byte> sought, Vector128<byte> text, int start, int control, int count, int soughtLength, int textLength)
    {
        for (var i = 0; i < soughtLength && start + i < count; i++)
        {
            if (start + i >= textLength || Element(sought, i, control) != Element(text, start + i, control)) return false;
        }

        return true;
    }

    private static int Element(Vector128<byte> text, int index, int control) => (control & 3) switch
    {
        0 => text.GetElement(index),
        1 => text.AsUInt16().GetElement(index),
        2 => text.AsSByte().GetElement(index),
        _ => text.AsInt16().GetElement(index),
    };

    private static int Length(ulong register, int variant, int count)
    {
        var length = (variant & WideLengths) != 0 ? (long)register : (int)register;
        return (int)Math.Min((ulong)(length < 0 ? -length : length), (ulong)count);
    }

    private static int Length(Vector128<byte> text, int count)
    {
        var zeros = count == 8 ? Vector128.Equals(text.AsUInt16(), Vector128<ushort>.Zero).ExtractMostSignificantBits() : Vector128.Equals(text, Vector128<byte>.Zero).ExtractMostSignificantBits();
        return zeros == 0 ? count : BitOperations.TrailingZeroCount(zeros);
    }
}
