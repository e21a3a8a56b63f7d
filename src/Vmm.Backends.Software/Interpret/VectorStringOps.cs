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

    /// <summary>IntRes1: what the aggregation finds for each element of the second string, as a bit mask.</summary>
    private static uint Aggregate(Vector128<byte> first, Vector128<byte> second, int control, int count, int firstLength, int secondLength) => (control & 3) switch
    {
        0 => Aggregate<byte>(first, second, control >> 2 & 3, count, firstLength, secondLength),
        1 => Aggregate<ushort>(first.AsUInt16(), second.AsUInt16(), control >> 2 & 3, count, firstLength, secondLength),
        2 => Aggregate<sbyte>(first.AsSByte(), second.AsSByte(), control >> 2 & 3, count, firstLength, secondLength),
        _ => Aggregate<short>(first.AsInt16(), second.AsInt16(), control >> 2 & 3, count, firstLength, secondLength),
    };

    private static uint Aggregate<T>(Vector128<T> first, Vector128<T> second, int kind, int count, int firstLength, int secondLength) where T : unmanaged
    {
        var all = (1u << count) - 1;
        var (firstValid, secondValid) = ((1u << firstLength) - 1, (1u << secondLength) - 1);
        var result = 0u;
        switch (kind)
        {
            case 0:
                for (var i = 0; i < firstLength; i++) result |= Equal(second, first.GetElement(i));
                return result & secondValid;
            case 1:
                for (var i = 0; i + 1 < firstLength; i += 2)
                {
                    var (low, high) = (Vector128.Create(first.GetElement(i)), Vector128.Create(first.GetElement(i + 1)));
                    result |= (Vector128.GreaterThanOrEqual(second, low) & Vector128.LessThanOrEqual(second, high)).ExtractMostSignificantBits();
                }

                return result & secondValid;
            case 2:
                return (Vector128.Equals(first, second).ExtractMostSignificantBits() & firstValid & secondValid) | (~firstValid & ~secondValid & all);
            default:
                // Each position keeps its bit while the text goes on as the sought string does; past the register's end all is found.
                result = all;
                for (var i = 0; i < firstLength; i++) result &= ((Equal(second, first.GetElement(i)) & secondValid) >> i) | ~(all >> i);
                return result;
        }
    }

    private static uint Equal<T>(Vector128<T> text, T element) where T : unmanaged => Vector128.Equals(text, Vector128.Create(element)).ExtractMostSignificantBits();

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
