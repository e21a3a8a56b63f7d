// Intel SDM vol. 2: MOVAPS and its kin, MOVSS, MOVSD, MOVQ, MOVD, MOVLPS, MOVHPS, MASKMOVDQU, VMASKMOVPS, VPMASKMOVD, VZEROALL, VZEROUPPER.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Interpret;

/// <summary>Moves between vector registers, general registers and memory.</summary>
internal static partial class VectorMoveOps
{
    private static ref Op MoveRegister<TForm>(Vcpu cpu, ref Op op) where TForm : struct, IForm
    {
        cpu.SetVector<TForm>(op.A, cpu.Xmm<byte>(op.B), TForm.IsWide ? cpu.XmmHigh<byte>(op.B) : default);
        return ref Vcpu.Next(ref op);
    }

    // Extra is 16 or 32 where the operand must be aligned, else 1.
    private static ref Op Load<TForm>(Vcpu cpu, ref Op op) where TForm : struct, IForm
    {
        if (TForm.IsWide)
        {
            if (!cpu.TryLoad<Vector256<byte>>(ref op, out var whole)) return ref cpu.Fault(ref op);
            cpu.Ymm<byte>(op.A) = whole;
            return ref Vcpu.Next(ref op);
        }

        if (!cpu.TryLoad<Vector128<byte>>(ref op, out var value)) return ref cpu.Fault(ref op);
        cpu.SetVector<TForm>(op.A, value, default);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op LoadAligned<TForm>(Vcpu cpu, ref Op op) where TForm : struct, IForm
    {
        if (!cpu.IsAligned(ref op, TForm.IsWide ? 32u : 16u, Access.Read)) return ref cpu.Fault(ref op);
        return ref Load<TForm>(cpu, ref op);
    }

    private static ref Op Store<TForm>(Vcpu cpu, ref Op op) where TForm : struct, IForm
    {
        var done = TForm.IsWide ? cpu.TryStore(ref op, cpu.Ymm<byte>(op.A)) : cpu.TryStore(ref op, cpu.Xmm<byte>(op.A));
        if (!done) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op StoreAligned<TForm>(Vcpu cpu, ref Op op) where TForm : struct, IForm
    {
        if (!cpu.IsAligned(ref op, TForm.IsWide ? 32u : 16u, Access.Write)) return ref cpu.Fault(ref op);
        return ref Store<TForm>(cpu, ref op);
    }

    /// <summary>MOVSS, MOVSD, MOVD, MOVQ from memory: the rest of the register becomes zero.</summary>
    private static ref Op LoadScalar<T, TForm>(Vcpu cpu, ref Op op) where T : unmanaged where TForm : struct, IForm
    {
        if (!cpu.TryLoad<T>(ref op, out var value)) return ref cpu.Fault(ref op);
        cpu.SetVector<TForm>(op.A, Vector128.CreateScalar(value).AsByte(), default);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op StoreScalar<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryStore(ref op, cpu.Xmm<T>(op.A).ToScalar())) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>MOVSS, MOVSD between registers: the rest comes from the first source.</summary>
    private static ref Op MergeScalar<T, TForm>(Vcpu cpu, ref Op op) where T : unmanaged where TForm : struct, IForm
    {
        var result = cpu.Xmm<T>(op.B).WithElement(0, cpu.Xmm<T>(op.C).ToScalar());
        cpu.SetVector<TForm>(op.A, result.AsByte(), default);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>MOVQ between vector registers.</summary>
    private static ref Op MoveQword<TForm>(Vcpu cpu, ref Op op) where TForm : struct, IForm
    {
        cpu.SetVector<TForm>(op.A, Vector128.CreateScalar(cpu.Xmm<ulong>(op.B).ToScalar()).AsByte(), default);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>MOVD, MOVQ from a general register.</summary>
    private static ref Op FromGeneral<T, TForm>(Vcpu cpu, ref Op op) where T : unmanaged where TForm : struct, IForm
    {
        cpu.SetVector<TForm>(op.A, Vector128.CreateScalar(cpu.Reg<T>(op.B)).AsByte(), default);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>MOVD, MOVQ to a general register.</summary>
    private static ref Op ToGeneral<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        cpu.SetReg(op.A, cpu.Xmm<T>(op.B).ToScalar());
        return ref Vcpu.Next(ref op);
    }

    /// <summary>MOVLPS, MOVLPD from memory.</summary>
    private static ref Op LoadLow<TForm>(Vcpu cpu, ref Op op) where TForm : struct, IForm
    {
        if (!cpu.TryLoad<ulong>(ref op, out var value)) return ref cpu.Fault(ref op);
        cpu.SetVector<TForm>(op.A, cpu.Xmm<ulong>(op.B).WithElement(0, value).AsByte(), default);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>MOVHPS, MOVHPD from memory.</summary>
    private static ref Op LoadHigh<TForm>(Vcpu cpu, ref Op op) where TForm : struct, IForm
    {
        if (!cpu.TryLoad<ulong>(ref op, out var value)) return ref cpu.Fault(ref op);
        cpu.SetVector<TForm>(op.A, cpu.Xmm<ulong>(op.B).WithElement(1, value).AsByte(), default);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op StoreHigh(Vcpu cpu, ref Op op)
    {
        if (!cpu.TryStore(ref op, cpu.Xmm<ulong>(op.A).GetElement(1))) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    // VZEROUPPER and VZEROALL touch the eight registers that the mode has.
    private static ref Op ZeroUpper(Vcpu cpu, ref Op op)
    {
        for (byte i = 0; i < Registers(cpu); i++) cpu.XmmHigh<byte>(i) = default;
        return ref Vcpu.Next(ref op);
    }

    private static ref Op ZeroAll(Vcpu cpu, ref Op op)
    {
        for (byte i = 0; i < Registers(cpu); i++) cpu.Ymm<byte>(i) = default;
        return ref Vcpu.Next(ref op);
    }

    private static int Registers(Vcpu cpu) => (cpu.S.Mode & CpuMode.CodeMask) == CpuMode.Code64 ? 16 : 8;

    /// <summary>VMASKMOVPS, VMASKMOVPD, VPMASKMOVD, VPMASKMOVQ loads: only chosen elements are read, the others become zero.</summary>
    private static ref Op MaskedLoad<T, TForm>(Vcpu cpu, ref Op op) where T : unmanaged where TForm : struct, IForm
    {
        var size = Unsafe.SizeOf<T>();
        var mask = ChosenElements<T, TForm>(cpu, op.B);
        var result = Vector256<T>.Zero;
        for (var i = 0; mask >> i != 0; i++)
        {
            if ((mask >> i & 1) == 0) continue;
            if (!cpu.TryLinear(ref op, size, Access.Read, out var linear, (ulong)(i * size))) return ref cpu.Fault(ref op);
            if (!cpu.TryRead<T>(linear, out var element))
            {
                cpu.StackFault(ref op);
                return ref cpu.Fault(ref op);
            }

            result = result.WithElement(i, element);
        }

        cpu.Ymm<T>(op.A) = result;
        return ref Vcpu.Next(ref op);
    }

    /// <summary>The stores: A is the mask, B the source.</summary>
    private static ref Op MaskedStore<T, TForm>(Vcpu cpu, ref Op op) where T : unmanaged where TForm : struct, IForm =>
        ref StoreChosen<T>(cpu, ref op, ChosenElements<T, TForm>(cpu, op.A), op.B);

    /// <summary>MASKMOVDQU: A is the source, B the mask; the operand is at DS:rDI, which the binder has made the memory operand.</summary>
    private static ref Op MaskedStoreBytes(Vcpu cpu, ref Op op)
    {
        // Faults are those of a store of all 16 bytes, whatever the mask says: the manual leaves that to the processor.
        if (!CanStore(cpu, ref op, 16, 0)) return ref cpu.Fault(ref op);
        return ref StoreChosen<byte>(cpu, ref op, cpu.Xmm<byte>(op.B).ExtractMostSignificantBits(), op.A);
    }

    private static uint ChosenElements<T, TForm>(Vcpu cpu, byte register) where T : unmanaged where TForm : struct, IForm =>
        cpu.Xmm<T>(register).ExtractMostSignificantBits()
        | (TForm.IsWide ? cpu.XmmHigh<T>(register).ExtractMostSignificantBits() << Vector128<T>.Count : 0);

    // All chosen elements are checked before the first is written.
    private static ref Op StoreChosen<T>(Vcpu cpu, ref Op op, uint mask, byte source) where T : unmanaged
    {
        var size = Unsafe.SizeOf<T>();
        for (var i = 0; mask >> i != 0; i++)
        {
            if ((mask >> i & 1) != 0 && !CanStore(cpu, ref op, size, (ulong)(i * size))) return ref cpu.Fault(ref op);
        }

        for (var i = 0; mask >> i != 0; i++)
        {
            if ((mask >> i & 1) == 0) continue;
            cpu.TryLinear(ref op, size, Access.Write, out var linear, (ulong)(i * size));
            if (!cpu.TryWrite(linear, cpu.Ymm<T>(source).GetElement(i))) return ref cpu.Fault(ref op);
        }

        return ref Vcpu.Next(ref op);
    }
}
