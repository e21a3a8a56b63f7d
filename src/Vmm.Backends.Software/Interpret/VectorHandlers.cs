// Intel SDM vol. 1, 13.1 and 14.1: operand forms that most vector instructions share.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;

namespace Vmm.Backends.Software.Interpret;

/// <summary>
/// The generic handlers. Registers are normalised when bound: A is the destination, B the first source (of legacy SSE the
/// destination), C the second, D the third.
/// </summary>
internal static partial class VectorHandlers
{
    private static ref Op UnaryRegister<TOp, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IUnary where TForm : struct, IForm
    {
        var low = TOp.Run(cpu.Xmm<byte>(op.B), (int)op.Imm);
        var high = TForm.IsWide ? TOp.Run(cpu.XmmHigh<byte>(op.B), TOp.HighImmediate((int)op.Imm)) : default;
        cpu.SetVector<TForm>(op.A, low, high);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op UnaryMemory<TOp, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IUnary where TForm : struct, IForm
    {
        if (!cpu.TryLoadFull<TForm>(ref op, out var low, out var high)) return ref cpu.Fault(ref op);
        low = TOp.Run(low, (int)op.Imm);
        if (TForm.IsWide) high = TOp.Run(high, TOp.HighImmediate((int)op.Imm));
        cpu.SetVector<TForm>(op.A, low, high);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op BinaryRegister<TOp, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IBinary where TForm : struct, IForm
    {
        var low = TOp.Run(cpu.Xmm<byte>(op.B), cpu.Xmm<byte>(op.C), (int)op.Imm);
        var high = TForm.IsWide ? TOp.Run(cpu.XmmHigh<byte>(op.B), cpu.XmmHigh<byte>(op.C), TOp.HighImmediate((int)op.Imm)) : default;
        cpu.SetVector<TForm>(op.A, low, high);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op BinaryMemory<TOp, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IBinary where TForm : struct, IForm
    {
        if (!cpu.TryLoadFull<TForm>(ref op, out var low, out var high)) return ref cpu.Fault(ref op);
        low = TOp.Run(cpu.Xmm<byte>(op.B), low, (int)op.Imm);
        if (TForm.IsWide) high = TOp.Run(cpu.XmmHigh<byte>(op.B), high, TOp.HighImmediate((int)op.Imm));
        cpu.SetVector<TForm>(op.A, low, high);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op TernaryRegister<TOp, TForm>(Vcpu cpu, ref Op op) where TOp : struct, ITernary where TForm : struct, IForm
    {
        var low = TOp.Run(cpu.Xmm<byte>(op.B), cpu.Xmm<byte>(op.C), cpu.Xmm<byte>(op.D));
        var high = TForm.IsWide ? TOp.Run(cpu.XmmHigh<byte>(op.B), cpu.XmmHigh<byte>(op.C), cpu.XmmHigh<byte>(op.D)) : default;
        cpu.SetVector<TForm>(op.A, low, high);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op TernaryMemory<TOp, TForm>(Vcpu cpu, ref Op op) where TOp : struct, ITernary where TForm : struct, IForm
    {
        if (!cpu.TryLoadFull<TForm>(ref op, out var low, out var high)) return ref cpu.Fault(ref op);
        low = TOp.Run(cpu.Xmm<byte>(op.B), low, cpu.Xmm<byte>(op.D));
        if (TForm.IsWide) high = TOp.Run(cpu.XmmHigh<byte>(op.B), high, cpu.XmmHigh<byte>(op.D));
        cpu.SetVector<TForm>(op.A, low, high);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op ShiftImmediate<TOp, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IShift where TForm : struct, IForm =>
        ref Shifted<TOp, TForm>(cpu, ref op, op.Imm);

    private static ref Op ShiftRegister<TOp, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IShift where TForm : struct, IForm =>
        ref Shifted<TOp, TForm>(cpu, ref op, cpu.Xmm<ulong>(op.C).ToScalar());

    // The count is 16 bytes of memory for the 256-bit forms as well; its low half counts.
    private static ref Op ShiftMemory<TOp, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IShift where TForm : struct, IForm
    {
        if (TForm.IsLegacy && !cpu.IsAligned(ref op, 16, Mmu.Access.Read)) return ref cpu.Fault(ref op);
        if (!cpu.TryLoad<Vector128<ulong>>(ref op, out var count)) return ref cpu.Fault(ref op);
        return ref Shifted<TOp, TForm>(cpu, ref op, count.ToScalar());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op Shifted<TOp, TForm>(Vcpu cpu, ref Op op, ulong count) where TOp : struct, IShift where TForm : struct, IForm
    {
        var low = TOp.Run(cpu.Xmm<byte>(op.B), count);
        var high = TForm.IsWide ? TOp.Run(cpu.XmmHigh<byte>(op.B), count) : default;
        cpu.SetVector<TForm>(op.A, low, high);
        return ref Vcpu.Next(ref op);
    }

    private static ref Op ExtendRegister<TOp, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IExtend where TForm : struct, IForm =>
        ref Extended<TOp, TForm>(cpu, ref op, cpu.Xmm<ulong>(op.B));

    private static ref Op ExtendMemory<TOp, TForm>(Vcpu cpu, ref Op op) where TOp : struct, IExtend where TForm : struct, IForm
    {
        if (!cpu.TryLoadLow(ref op, TForm.IsWide ? TOp.Bytes * 2 : TOp.Bytes, out var source)) return ref cpu.Fault(ref op);
        return ref Extended<TOp, TForm>(cpu, ref op, source);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref Op Extended<TOp, TForm>(Vcpu cpu, ref Op op, Vector128<ulong> source) where TOp : struct, IExtend where TForm : struct, IForm
    {
        var low = TOp.Run(source.ToScalar());
        var high = TForm.IsWide ? TOp.Run(TOp.Bytes == 8 ? source.GetElement(1) : source.ToScalar() >> (TOp.Bytes * 8)) : default;
        cpu.SetVector<TForm>(op.A, low, high);
        return ref Vcpu.Next(ref op);
    }

    /// <summary>Loads 2, 4, 8 or 16 bytes of memory operand; the rest is zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool TryLoadLow(this Vcpu cpu, ref Op op, int bytes, out Vector128<ulong> value)
    {
        bool ok;
        switch (bytes)
        {
            case 2:
                ok = cpu.TryLoad<ushort>(ref op, out var word);
                value = Vector128.CreateScalar((ulong)word);
                return ok;
            case 4:
                ok = cpu.TryLoad<uint>(ref op, out var dword);
                value = Vector128.CreateScalar((ulong)dword);
                return ok;
            case 8:
                ok = cpu.TryLoad<ulong>(ref op, out var qword);
                value = Vector128.CreateScalar(qword);
                return ok;
            default:
                return cpu.TryLoad(ref op, out value);
        }
    }
}
