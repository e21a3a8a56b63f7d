// Intel SDM vol. 2: VPERMx, VINSERTx, VEXTRACTx, VBROADCASTx, PINSRx, PEXTRx, INSERTPS, PTEST, VTESTPx, PMOVMSKB, MOVMSKPx.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>Shuffles and their kin: those within 128 bits are bound to lane functions, the others are handlers of their own.</summary>
internal static partial class VectorShuffleOps
{
    private static ref Op PermuteDwordsRegister(Vcpu cpu, ref Op op)
    {
        cpu.Ymm<uint>(op.A) = Vector256.Shuffle(cpu.Ymm<uint>(op.C), cpu.Ymm<uint>(op.B) & Vector256.Create(7u));
        return ref Vcpu.Next(ref op);
    }

    private static ref Op PermuteDwordsMemory(Vcpu cpu, ref Op op)
    {
        if (!cpu.TryLoad<Vector256<uint>>(ref op, out var source)) return ref cpu.Fault(ref op);
        cpu.Ymm<uint>(op.A) = Vector256.Shuffle(source, cpu.Ymm<uint>(op.B) & Vector256.Create(7u));
        return ref Vcpu.Next(ref op);
    }

    private static ref Op PermuteQwordsRegister(Vcpu cpu, ref Op op)
    {
        cpu.Ymm<ulong>(op.A) = PermuteQwords(cpu.Ymm<ulong>(op.B), (uint)op.Imm);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op PermuteQwordsMemory(Vcpu cpu, ref Op op)
    {
        if (!cpu.TryLoad<Vector256<ulong>>(ref op, out var source)) return ref cpu.Fault(ref op);
        cpu.Ymm<ulong>(op.A) = PermuteQwords(source, (uint)op.Imm);
        return ref Vcpu.Next(ref op);
    }

    private static Vector256<ulong> PermuteQwords(Vector256<ulong> source, uint imm) =>
        Vector256.Shuffle(source, Vector256.Create(imm & 3, imm >> 2 & 3, imm >> 4 & 3, (ulong)(imm >> 6 & 3)));

    private static ref Op PermuteHalvesRegister(Vcpu cpu, ref Op op)
    {
        cpu.Ymm<byte>(op.A) = PermuteHalves(cpu.Ymm<byte>(op.B), cpu.Ymm<byte>(op.C), (int)op.Imm);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op PermuteHalvesMemory(Vcpu cpu, ref Op op)
    {
        if (!cpu.TryLoad<Vector256<byte>>(ref op, out var source)) return ref cpu.Fault(ref op);
        cpu.Ymm<byte>(op.A) = PermuteHalves(cpu.Ymm<byte>(op.B), source, (int)op.Imm);
        return ref Vcpu.Next(ref op);
    }

    private static Vector256<byte> PermuteHalves(Vector256<byte> a, Vector256<byte> b, int imm) => Vector256.Create(Half(a, b, imm), Half(a, b, imm >> 4));

    private static Vector128<byte> Half(Vector256<byte> a, Vector256<byte> b, int choice)
    {
        if ((choice & 8) != 0) return default;
        var source = (choice & 2) != 0 ? b : a;
        return (choice & 1) != 0 ? source.GetUpper() : source.GetLower();
    }

    private static ref Op InsertHalfRegister(Vcpu cpu, ref Op op) => ref InsertHalf(cpu, ref op, cpu.Xmm<byte>(op.C));

    private static ref Op InsertHalfMemory(Vcpu cpu, ref Op op)
    {
        if (!cpu.TryLoad<Vector128<byte>>(ref op, out var source)) return ref cpu.Fault(ref op);
        return ref InsertHalf(cpu, ref op, source);
    }

    private static ref Op InsertHalf(Vcpu cpu, ref Op op, Vector128<byte> source)
    {
        var whole = cpu.Ymm<byte>(op.B);
        cpu.Ymm<byte>(op.A) = (op.Imm & 1) != 0 ? whole.WithUpper(source) : whole.WithLower(source);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op ExtractHalfRegister(Vcpu cpu, ref Op op)
    {
        cpu.Ymm<byte>(op.A) = ((op.Imm & 1) != 0 ? cpu.XmmHigh<byte>(op.B) : cpu.Xmm<byte>(op.B)).ToVector256();
        return ref Vcpu.Next(ref op);
    }

    private static ref Op ExtractHalfMemory(Vcpu cpu, ref Op op)
    {
        if (!cpu.TryStore(ref op, (op.Imm & 1) != 0 ? cpu.XmmHigh<byte>(op.A) : cpu.Xmm<byte>(op.A))) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op BroadcastHalf(Vcpu cpu, ref Op op)
    {
        if (!cpu.TryLoad<Vector128<byte>>(ref op, out var source)) return ref cpu.Fault(ref op);
        cpu.Ymm<byte>(op.A) = Vector256.Create(source, source);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op BroadcastRegister<T, TForm>(Vcpu cpu, ref Op op) where T : unmanaged where TForm : struct, IForm
    {
        var value = Vector128.Create(cpu.Xmm<T>(op.B).ToScalar()).AsByte();
        cpu.SetVector<TForm>(op.A, value, value);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op BroadcastMemory<T, TForm>(Vcpu cpu, ref Op op) where T : unmanaged where TForm : struct, IForm
    {
        if (!cpu.TryLoad<T>(ref op, out var element)) return ref cpu.Fault(ref op);
        var value = Vector128.Create(element).AsByte();
        cpu.SetVector<TForm>(op.A, value, value);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op InsertSingleRegister<TForm>(Vcpu cpu, ref Op op) where TForm : struct, IForm =>
        ref InsertSingle<TForm>(cpu, ref op, cpu.Xmm<uint>(op.C).GetElement((int)op.Imm >> 6 & 3));

    // With memory there is one element to choose from: bits 7:6 of the immediate count for nothing.
    private static ref Op InsertSingleMemory<TForm>(Vcpu cpu, ref Op op) where TForm : struct, IForm
    {
        if (!cpu.TryLoad<uint>(ref op, out var element)) return ref cpu.Fault(ref op);
        return ref InsertSingle<TForm>(cpu, ref op, element);
    }

    private static ref Op InsertSingle<TForm>(Vcpu cpu, ref Op op, uint element) where TForm : struct, IForm
    {
        var imm = (int)op.Imm;
        var bits = Vector128.Create(1, 2, 4, 8);
        var keep = Vector128.Equals(Vector128.Create(imm) & bits, Vector128<int>.Zero);
        var result = cpu.Xmm<uint>(op.B).WithElement(imm >> 4 & 3, element) & keep.AsUInt32();
        cpu.SetVector<TForm>(op.A, result.AsByte(), default);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op InsertRegister<T, TForm>(Vcpu cpu, ref Op op) where T : unmanaged where TForm : struct, IForm =>
        ref Inserted<T, TForm>(cpu, ref op, cpu.Reg<T>(op.C));

    private static ref Op InsertMemory<T, TForm>(Vcpu cpu, ref Op op) where T : unmanaged where TForm : struct, IForm
    {
        if (!cpu.TryLoad<T>(ref op, out var element)) return ref cpu.Fault(ref op);
        return ref Inserted<T, TForm>(cpu, ref op, element);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op Inserted<T, TForm>(Vcpu cpu, ref Op op, T element) where T : unmanaged where TForm : struct, IForm
    {
        var result = cpu.Xmm<T>(op.B).WithElement((int)op.Imm & (Vector128<T>.Count - 1), element);
        cpu.SetVector<TForm>(op.A, result.AsByte(), default);
        return ref Vcpu.Next(ref op);
    }

    // Elements narrower than the register are zero-extended to all of it.
    private static ref Op ExtractRegister<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        var element = cpu.Xmm<T>(op.B).GetElement((int)op.Imm & (Vector128<T>.Count - 1));
        cpu.Reg<ulong>(op.A) = Vector128.CreateScalar(element).AsUInt64().ToScalar();
        return ref Vcpu.Next(ref op);
    }

    private static ref Op ExtractMemory<T>(Vcpu cpu, ref Op op) where T : unmanaged
    {
        if (!cpu.TryStore(ref op, cpu.Xmm<T>(op.A).GetElement((int)op.Imm & (Vector128<T>.Count - 1)))) return ref cpu.Fault(ref op);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op TestRegister<T, TForm>(Vcpu cpu, ref Op op) where T : unmanaged where TForm : struct, IForm =>
        ref Tested<T, TForm>(cpu, ref op, cpu.Xmm<byte>(op.B), TForm.IsWide ? cpu.XmmHigh<byte>(op.B) : default);

    private static ref Op TestMemory<T, TForm>(Vcpu cpu, ref Op op) where T : unmanaged where TForm : struct, IForm
    {
        if (!cpu.TryLoadFull<TForm>(ref op, out var low, out var high)) return ref cpu.Fault(ref op);
        return ref Tested<T, TForm>(cpu, ref op, low, high);
    }

    // PTEST looks at all bits, VTESTPS and VTESTPD at the signs of their elements.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op Tested<T, TForm>(Vcpu cpu, ref Op op, Vector128<byte> low, Vector128<byte> high) where T : unmanaged where TForm : struct, IForm
    {
        var first = cpu.Xmm<byte>(op.A);
        var (both, only) = (low & first, low & ~first);
        if (TForm.IsWide)
        {
            first = cpu.XmmHigh<byte>(op.A);
            both |= high & first;
            only |= high & ~first;
        }

        var (zf, cf) = typeof(T) == typeof(byte)
            ? (both == Vector128<byte>.Zero, only == Vector128<byte>.Zero)
            : (both.As<byte, T>().ExtractMostSignificantBits() == 0, only.As<byte, T>().ExtractMostSignificantBits() == 0);
        cpu.S.SetArithmetic((zf ? Flags.ZF : 0) | (cf ? Flags.CF : 0));
        return ref Vcpu.Next(ref op);
    }

    private static ref Op MoveMaskRegister<T, TForm>(Vcpu cpu, ref Op op) where T : unmanaged where TForm : struct, IForm
    {
        var mask = cpu.Xmm<T>(op.B).ExtractMostSignificantBits();
        if (TForm.IsWide) mask |= cpu.XmmHigh<T>(op.B).ExtractMostSignificantBits() << Vector128<T>.Count;
        cpu.Reg<ulong>(op.A) = mask;
        return ref Vcpu.Next(ref op);
    }
}
