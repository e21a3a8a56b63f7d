// Intel SDM vol. 1, chapter 9 (MMX), 10.4.4 and 12.6 (the 64-bit forms of SSE and SSSE3); vol. 3, 13.2 (MMX and the x87 state).
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.FloatingPoint;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Interpret;

/// <summary>
/// Instructions on MMX registers. Every one but EMMS makes all x87 registers valid with TOP 0, and a written register gets an
/// exponent of ones. What is done to lanes is taken from the XMM forms.
/// </summary>
internal static partial class MmxOps
{
    private static ref Op BinaryRegister<TOp>(Vcpu cpu, ref Op op) where TOp : struct, IMmx
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        return ref Finish(cpu, ref op, op.A, TOp.Run(cpu.Mmx(op.A), cpu.Mmx(op.B), (int)op.Imm));
    }

    private static ref Op BinaryMemory<TOp>(Vcpu cpu, ref Op op) where TOp : struct, IMmx
    {
        if (!TryBegin(cpu) || !cpu.TryLoad<ulong>(ref op, out var source)) return ref cpu.Fault(ref op);
        return ref Finish(cpu, ref op, op.A, TOp.Run(cpu.Mmx(op.A), source, (int)op.Imm));
    }

    // PUNPCKLBW and its kin read four bytes.
    private static ref Op BinaryMemoryNarrow<TOp>(Vcpu cpu, ref Op op) where TOp : struct, IMmx
    {
        if (!TryBegin(cpu) || !cpu.TryLoad<uint>(ref op, out var source)) return ref cpu.Fault(ref op);
        return ref Finish(cpu, ref op, op.A, TOp.Run(cpu.Mmx(op.A), source, (int)op.Imm));
    }

    private static ref Op ShiftImmediate<TOp>(Vcpu cpu, ref Op op) where TOp : struct, IMmx
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        return ref Finish(cpu, ref op, op.A, TOp.Run(cpu.Mmx(op.A), op.Imm, 0));
    }

    // MOVD and MOVQ from a general register; Size is 4 or 8.
    private static ref Op FromGeneral(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        return ref Finish(cpu, ref op, op.A, op.Size == 8 ? cpu.Reg<ulong>(op.B) : cpu.Reg<uint>(op.B));
    }

    private static ref Op ToGeneral(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Enter(cpu);
        cpu.Reg<ulong>(op.A) = op.Size == 8 ? cpu.Mmx(op.B) : (uint)cpu.Mmx(op.B);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op Load<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!TryBegin(cpu) || !cpu.TryLoad<T>(ref op, out var value)) return ref cpu.Fault(ref op);
        return ref Finish(cpu, ref op, op.A, typeof(T) == typeof(uint) ? Unsafe.BitCast<T, uint>(value) : Unsafe.BitCast<T, ulong>(value));
    }

    private static ref Op StoreDword(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu) || !cpu.TryStore(ref op, (uint)cpu.Mmx(op.A))) return ref cpu.Fault(ref op);
        Enter(cpu);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op StoreQword(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu) || !cpu.TryStore(ref op, cpu.Mmx(op.A))) return ref cpu.Fault(ref op);
        Enter(cpu);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op Move(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        return ref Finish(cpu, ref op, op.A, cpu.Mmx(op.B));
    }

    private static ref Op MoveToXmm(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Enter(cpu);
        cpu.Xmm<ulong>(op.A) = Vector128.CreateScalar(cpu.Mmx(op.B));
        return ref Vcpu.Next(ref op);
    }

    private static ref Op MoveFromXmm(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        return ref Finish(cpu, ref op, op.A, cpu.Xmm<ulong>(op.B).ToScalar());
    }

    private static ref Op InsertRegister(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        return ref Finish(cpu, ref op, op.A, Insert(cpu.Mmx(op.A), cpu.Reg<ushort>(op.B), (int)op.Imm));
    }

    private static ref Op InsertMemory(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu) || !cpu.TryLoad<ushort>(ref op, out var word)) return ref cpu.Fault(ref op);
        return ref Finish(cpu, ref op, op.A, Insert(cpu.Mmx(op.A), word, (int)op.Imm));
    }

    private static ref Op Extract(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Enter(cpu);
        cpu.Reg<ulong>(op.A) = (ushort)(cpu.Mmx(op.B) >> (((int)op.Imm & 3) * 16));
        return ref Vcpu.Next(ref op);
    }

    private static ref Op MoveMask(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        Enter(cpu);
        cpu.Reg<ulong>(op.A) = Signs(cpu.Mmx(op.B));
        return ref Vcpu.Next(ref op);
    }

    // MASKMOVQ: A is the source, B the mask; the operand is at DS:rDI. Faults are those of a store of all eight bytes.
    private static ref Op MaskedStore(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        // Processors have left the x87 state before they look at the address.
        Enter(cpu);
        if (!cpu.TryProbeStore(ref op, 8)) return ref cpu.Fault(ref op);
        var (source, mask) = (cpu.Mmx(op.A), Signs(cpu.Mmx(op.B)));
        for (var i = 0; i < 8; i++)
        {
            if ((mask >> i & 1) == 0) continue;
            if (!cpu.TryLinear(ref op, 1, Access.Write, out var linear, (ulong)i) || !cpu.TryWrite(linear, (byte)(source >> (8 * i)))) return ref cpu.Fault(ref op);
        }

        return ref Vcpu.Next(ref op);
    }

    private static ref Op Empty(Vcpu cpu, ref Op op)
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        cpu.S.X87.Tags = 0;
        cpu.S.X87.Top = 0;
        return ref Vcpu.Next(ref op);
    }

    // CVTPI2PS, CVTPI2PD from a register (Size 0) or memory (Size 8).
    private static ref Op ToFloat<TFormat>(Vcpu cpu, ref Op op) where TFormat : struct, IBinaryFormat
    {
        var source = 0UL;
        // From memory they have nothing to do with the MMX registers.
        var touches = op.Size == 0;
        if (touches && !TryBegin(cpu)) return ref cpu.Fault(ref op);
        if (!touches && !cpu.TryLoad(ref op, out source)) return ref cpu.Fault(ref op);
        if (touches) source = cpu.Mmx(op.B);
        var raised = 0u;
        var low = SoftFloat<TFormat>.FromInteger((int)source, cpu.S.Mxcsr, ref raised);
        var high = SoftFloat<TFormat>.FromInteger((int)(source >> 32), cpu.S.Mxcsr, ref raised);
        if (touches) Enter(cpu);
        if (Mxcsr.Commit(ref cpu.S.Mxcsr, raised)) return ref cpu.FloatFault(ref op);
        if (typeof(TFormat) == typeof(Binary32)) cpu.Xmm<ulong>(op.A) = cpu.Xmm<ulong>(op.A).WithElement(0, low | high << 32);
        else cpu.Xmm<ulong>(op.A) = Vector128.Create(low, high);
        return ref Vcpu.Next(ref op);
    }

    // CVTPS2PI, CVTPD2PI and (Extra 1) their truncating forms, from a register (Size 0) or memory.
    private static ref Op FromFloat<TFormat>(Vcpu cpu, ref Op op) where TFormat : struct, IBinaryFormat
    {
        if (!TryBegin(cpu)) return ref cpu.Fault(ref op);
        var wide = typeof(TFormat) == typeof(Binary64);
        var source = cpu.Xmm<ulong>(op.B);
        if (op.Size != 0)
        {
            if (wide)
            {
                if (!cpu.IsAligned(ref op, 16, Access.Read) || !cpu.TryLoad(ref op, out source)) return ref cpu.Fault(ref op);
            }
            else
            {
                if (!cpu.TryLoad<ulong>(ref op, out var pair)) return ref cpu.Fault(ref op);
                source = Vector128.CreateScalar(pair);
            }
        }

        var (first, second) = wide ? (source.GetElement(0), source.GetElement(1)) : ((uint)source.ToScalar(), source.ToScalar() >> 32);
        var raised = 0u;
        var low = (uint)SoftFloat<TFormat>.ToInteger(first, 32, op.Extra != 0, cpu.S.Mxcsr, ref raised);
        var high = (uint)SoftFloat<TFormat>.ToInteger(second, 32, op.Extra != 0, cpu.S.Mxcsr, ref raised);
        if (Mxcsr.Commit(ref cpu.S.Mxcsr, raised))
        {
            Enter(cpu);
            return ref cpu.FloatFault(ref op);
        }

        return ref Finish(cpu, ref op, op.A, low | (ulong)high << 32);
    }

    // Instructions that also name an XMM register, while SSE is off.
    private static ref Op SseOff(Vcpu cpu, ref Op op)
    {
        ref var s = ref cpu.S;
        var undefined = (s.Cr0 & ControlBits.Cr0Em) != 0 || (s.Cr4 & ControlBits.Cr4OsFxsr) == 0;
        return ref cpu.Fault(ref op, undefined ? Vector.UD : Vector.NM);
    }

    /// <summary>#UD where the unit is emulated, #NM where its state belongs to another task, #MF where an exception is pending.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool TryBegin(Vcpu cpu)
    {
        ref var s = ref cpu.S;
        return ((s.Cr0 & (ControlBits.Cr0Em | ControlBits.Cr0Ts)) == 0 && (s.X87.Status & X87Stack.ErrorSummary) == 0) || BeginSlow(cpu);
    }

    private static bool BeginSlow(Vcpu cpu)
    {
        if ((cpu.S.Cr0 & ControlBits.Cr0Em) == 0) return X87Stack.TryBeginNoWait(cpu) && X87Stack.TryWait(cpu);
        cpu.Raise(Vector.UD, 0);
        return false;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Enter(Vcpu cpu) => (cpu.S.X87.Top, cpu.S.X87.Tags) = (0, 0xFF);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op Finish(Vcpu cpu, ref Op op, byte register, ulong value)
    {
        Enter(cpu);
        ref var target = ref cpu.S.X87.Registers[register & 7];
        (target.Significand, target.SignExponent) = (value, 0xFFFF);
        return ref Vcpu.Next(ref op);
    }

    private static ulong Insert(ulong value, ushort word, int position)
    {
        var shift = (position & 3) * 16;
        return (value & ~(0xFFFFUL << shift)) | (ulong)word << shift;
    }

    private static uint Signs(ulong value) => Vector128.CreateScalar(value).AsByte().ExtractMostSignificantBits();
}
