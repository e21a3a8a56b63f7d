using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>Decimal arithmetic of 16- and 32-bit code: DAA, DAS, AAA, AAS, AAM and AAD.</summary>
internal static partial class DecimalOps
{
    private const byte Al = 0, Ah = 1;

    private static ref Op AdjustAdd(Vcpu cpu, ref Op op)
    {
        ref var s = ref cpu.S;
        var (al, carry, adjust) = (cpu.Reg<byte>(Al), s.CF, s.AF);
        var result = al;
        adjust |= (al & 15) > 9;
        if (adjust) result += 6;
        carry |= al > 0x99;
        if (carry) result += 0x60;
        cpu.Reg<byte>(Al) = result;
        s.SetResult(result, carry, false, adjust);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op AdjustSub(Vcpu cpu, ref Op op)
    {
        ref var s = ref cpu.S;
        var (al, before, adjust) = (cpu.Reg<byte>(Al), s.CF, s.AF);
        var (result, carry) = (al, before);
        adjust |= (al & 15) > 9;
        if (adjust)
        {
            // The borrow of this step stays even when the second one is not taken.
            carry |= al < 6;
            result -= 6;
        }

        if (before || al > 0x99)
        {
            result -= 0x60;
            carry = true;
        }

        cpu.Reg<byte>(Al) = result;
        s.SetResult(result, carry, false, adjust);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op AsciiAdd(Vcpu cpu, ref Op op)
    {
        ref var s = ref cpu.S;
        var adjust = s.AF || (cpu.Reg<byte>(Al) & 15) > 9;
        if (adjust) cpu.Reg<ushort>(Al) += 0x106;
        cpu.Reg<byte>(Al) &= 15;
        s.SetResult(cpu.Reg<byte>(Al), adjust, false, adjust);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op AsciiSub(Vcpu cpu, ref Op op)
    {
        ref var s = ref cpu.S;
        var adjust = s.AF || (cpu.Reg<byte>(Al) & 15) > 9;
        if (adjust) cpu.Reg<ushort>(Al) -= 0x106;
        cpu.Reg<byte>(Al) &= 15;
        s.SetResult(cpu.Reg<byte>(Al), adjust, false, adjust);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op AsciiMul(Vcpu cpu, ref Op op)
    {
        var divisor = (byte)op.Imm;
        if (divisor == 0) return ref cpu.Fault(ref op, Vector.DE);
        var (quotient, remainder) = Math.DivRem(cpu.Reg<byte>(Al), divisor);
        cpu.Reg<byte>(Ah) = quotient;
        cpu.Reg<byte>(Al) = remainder;
        cpu.S.SetLogic(remainder);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op AsciiDiv(Vcpu cpu, ref Op op)
    {
        var result = (byte)(cpu.Reg<byte>(Al) + cpu.Reg<byte>(Ah) * (byte)op.Imm);
        cpu.Reg<ushort>(Al) = result;
        cpu.S.SetLogic(result);
        return ref Vcpu.Next(ref op);
    }
}
