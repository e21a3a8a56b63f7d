// Intel SDM vol. 1, 8.1 (x87 execution environment), 8.5.1.1 (stack faults), 8.7 (reporting of exceptions).
using System.Runtime.CompilerServices;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.FloatingPoint;

namespace Vmm.Backends.Software.Interpret;

/// <summary>The x87 register stack and status word, as instruction handlers use them.</summary>
internal static class X87Stack
{
    /// <summary>ES: an unmasked exception is pending. B, bit 15, follows it.</summary>
    public const ushort ErrorSummary = 0x80;

    /// <summary>The busy bit.</summary>
    public const ushort Busy = 0x8000;

    private const uint ConditionCodes = FpFlags.C0 | FpFlags.C1 | FpFlags.C2 | FpFlags.C3;
    private const uint StackUnderflow = FpFlags.Invalid | FpFlags.StackFault;
    private const uint StackOverflow = StackUnderflow | FpFlags.C1;

    /// <summary>
    /// Begins a waiting instruction: #NM where the unit is off or its state belongs to another task, #MF where an exception is
    /// pending. False: a fault has been recorded.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryBegin(Vcpu cpu)
    {
        ref var s = ref cpu.S;
        return ((s.Cr0 & (ControlBits.Cr0Em | ControlBits.Cr0Ts)) == 0 && (s.X87.Status & ErrorSummary) == 0) || BeginSlow(cpu);
    }

    /// <summary>Begins an instruction that does not wait: only #NM.</summary>
    public static bool TryBeginNoWait(Vcpu cpu)
    {
        if ((cpu.S.Cr0 & (ControlBits.Cr0Em | ControlBits.Cr0Ts)) == 0)
        {
            return true;
        }
        cpu.Raise(Vector.NM, 0);
        return false;
    }

    /// <summary>Reports a pending exception: #MF, or the FERR# pin without CR0.NE. True: none, or the pin has been told.</summary>
    public static bool TryWait(Vcpu cpu)
    {
        ref var s = ref cpu.S;
        if ((s.X87.Status & ErrorSummary) == 0)
        {
            return true;
        }
        if ((s.Cr0 & ControlBits.Cr0Ne) == 0)
        {
            cpu.FloatingPointError?.Invoke();
            return true;
        }
        cpu.Raise(Vector.MF, 0);
        return false;
    }

    /// <summary>The physical register of ST(i).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Physical(ref X87State x, int i) => (x.Top + i) & 7;

    /// <summary>Whether ST(i) is empty.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsEmpty(ref X87State x, int i) => (x.Tags >> Physical(ref x, i) & 1) == 0;

    /// <summary>ST(i).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float80 Get(ref X87State x, int i)
    {
        ref var register = ref x.Registers[Physical(ref x, i)];
        return new(register.SignExponent, register.Significand);
    }

    /// <summary>Writes ST(i) and marks it in use.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Set(ref X87State x, int i, Float80 value)
    {
        var physical = Physical(ref x, i);
        ref var register = ref x.Registers[physical];
        (register.SignExponent, register.Significand) = (value.SignExponent, value.Significand);
        x.Tags |= (byte)(1 << physical);
    }

    /// <summary>Pops the stack <paramref name="count"/> times.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Pop(ref X87State x, int count)
    {
        for (; count > 0; count--)
        {
            x.Tags &= (byte)~(1 << x.Top);
            x.Top = (byte)((x.Top + 1) & 7);
        }
    }

    /// <summary>Makes room and writes the new ST0. The caller has seen that the place is empty, or answers an overflow.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Push(ref X87State x, Float80 value)
    {
        x.Top = (byte)((x.Top - 1) & 7);
        Set(ref x, 0, value);
    }

    /// <summary>Notes which instruction, and with <paramref name="memory"/> which operand, was the last one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Note(Vcpu cpu, ref Op op, bool memory)
    {
        ref var s = ref cpu.S;
        s.X87.LastIp = cpu.RipOf(ref op);
        s.X87.LastCs = s.Seg[1].Selector;
        if (memory)
        {
            s.X87.LastDp = cpu.Offset(ref op);
            s.X87.LastDs = s.Seg[op.Segment].Selector;
        }
    }

    /// <summary>
    /// Ends an instruction: C1 and the given codes are replaced, exceptions accumulate, and the summary is made anew.
    /// </summary>
    /// <param name="cpu">The processor.</param>
    /// <param name="op">The instruction.</param>
    /// <param name="raised">Exceptions and condition codes.</param>
    /// <param name="codes">The condition codes that the instruction defines beside C1.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ref Op End(Vcpu cpu, ref Op op, uint raised, uint codes = 0)
    {
        ref var x = ref cpu.S.X87;
        x.Status = (ushort)((x.Status & ~(codes | FpFlags.C1)) | (raised & (FpFlags.AllExceptions | FpFlags.StackFault | ConditionCodes)));
        if ((raised & ~(uint)x.Control & FpFlags.AllExceptions) != 0)
        {
            NoteOpcode(cpu, ref op);
            Summarize(ref x);
        }
        return ref Vcpu.Next(ref op);
    }

    /// <summary>Sets ES and B as status and control word say.</summary>
    public static void Summarize(ref X87State x)
    {
        x.Status &= unchecked((ushort)~(ErrorSummary | Busy));
        if ((x.Status & ~x.Control & FpFlags.AllExceptions) != 0)
        {
            x.Status |= ErrorSummary | Busy;
        }
    }

    /// <summary>
    /// The answer to an empty operand: the exception, and with it masked the default NaN in ST(<paramref name="destination"/>).
    /// </summary>
    public static ref Op Underflow(Vcpu cpu, ref Op op, int destination, int pops, uint codes = 0)
    {
        ref var x = ref cpu.S.X87;
        if ((x.Control & FpFlags.Invalid) != 0)
        {
            Set(ref x, destination, Float80.Indefinite);
            Pop(ref x, pops);
        }
        return ref End(cpu, ref op, StackUnderflow, codes);
    }

    /// <summary>The answer to a push onto a register in use.</summary>
    public static ref Op Overflow(Vcpu cpu, ref Op op)
    {
        ref var x = ref cpu.S.X87;
        if ((x.Control & FpFlags.Invalid) != 0)
        {
            Push(ref x, Float80.Indefinite);
        }
        return ref End(cpu, ref op, StackOverflow);
    }

    /// <summary>The same for an instruction that replaces ST0 and pushes: both become default NaNs.</summary>
    public static ref Op FaultOfTwo(Vcpu cpu, ref Op op, uint codes)
    {
        ref var x = ref cpu.S.X87;
        var raised = IsEmpty(ref x, 0) ? StackUnderflow : StackOverflow;
        if ((x.Control & FpFlags.Invalid) != 0)
        {
            Set(ref x, 0, Float80.Indefinite);
            Push(ref x, Float80.Indefinite);
        }
        return ref End(cpu, ref op, raised, codes);
    }

    /// <summary>The full tag word (two bits for each physical register), which only FSTENV and FSAVE show.</summary>
    public static ushort TagWord(ref X87State x)
    {
        var word = 0;
        for (var i = 0; i < 8; i++)
        {
            ref var register = ref x.Registers[i];
            var biased = register.SignExponent & Float80.MaxBiased;
            var tag = (x.Tags >> i & 1) == 0 ? 3
                : biased == 0 && register.Significand == 0 ? 1
                : biased is 0 or Float80.MaxBiased || (register.Significand & Float80.IntegerBit) == 0 ? 2 : 0;
            word |= tag << (2 * i);
        }
        return (ushort)word;
    }

    /// <summary>The abridged tags of a full tag word.</summary>
    public static byte Abridge(ushort tagWord)
    {
        var tags = 0;
        for (var i = 0; i < 8; i++)
        {
            tags |= (tagWord >> (2 * i) & 3) != 3 ? 1 << i : 0;
        }
        return (byte)tags;
    }

    private static bool BeginSlow(Vcpu cpu) => TryBeginNoWait(cpu) && TryWait(cpu);

    // FOP is only kept of instructions with an unmasked exception, as on processors since the Pentium 4; so it is
    // worth fetching again instead of keeping it in every op.
    private static void NoteOpcode(Vcpu cpu, ref Op op)
    {
        ref var s = ref cpu.S;
        var linear = s.Seg[1].Base + cpu.RipOf(ref op);
        for (var i = 0u; i + 1 < op.Length; i++)
        {
            if (!cpu.TryRead<byte>(linear + i, out var first) || !cpu.TryRead<byte>(linear + i + 1, out var second))
            {
                s.FaultVector = -1;
                return;
            }
            if (first is >= 0xD8 and <= 0xDF)
            {
                s.X87.LastOpcode = (ushort)((first & 7) << 8 | second);
                return;
            }
        }
    }
}
