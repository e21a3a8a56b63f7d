// Intel SDM vol. 2: DPPS, DPPD.
using System.Runtime.Intrinsics;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using static Vmm.Backends.Software.Interpret.VectorFloatOps;

namespace Vmm.Backends.Software.Interpret;

/// <summary>
/// Dot products: bits 7:4 of the immediate choose products, bits 3:0 the lanes that get the sum. Products, first sums and last sum are
/// as good as instructions of their own: an unmasked exception of one keeps the next from being computed.
/// </summary>
internal static partial class DotProductOps
{
    private static ref Op Register<T, TForm>(Vcpu cpu, ref Op op) where T : unmanaged where TForm : struct, IForm =>
        ref Run<T, TForm>(cpu, ref op, cpu.Xmm<byte>(op.C), TForm.IsWide ? cpu.XmmHigh<byte>(op.C) : default);

    private static ref Op Memory<T, TForm>(Vcpu cpu, ref Op op) where T : unmanaged where TForm : struct, IForm
    {
        if (!cpu.TryLoadFull<TForm>(ref op, out var low, out var high)) return ref cpu.Fault(ref op);
        return ref Run<T, TForm>(cpu, ref op, low, high);
    }

    private static ref Op Run<T, TForm>(Vcpu cpu, ref Op op, Vector128<byte> low, Vector128<byte> high) where T : unmanaged where TForm : struct, IForm
    {
        var lanes = Vector128<T>.Count;
        Span<ulong> terms = stackalloc ulong[8];
        terms = terms[..(TForm.IsWide ? lanes * 2 : lanes)];
        var mxcsr = cpu.S.Mxcsr;
        var raised = 0u;
        for (var i = 0; i < terms.Length; i++)
        {
            if (((uint)op.Imm >> (4 + i % lanes) & 1) == 0) continue;
            var (a, b) = i < lanes ? (cpu.Xmm<byte>(op.B), low) : (cpu.XmmHigh<byte>(op.B), high);
            terms[i] = Exact<FloatLanes.MulFloat, T>(Lane<T>(a, i % lanes), Lane<T>(b, i % lanes), 0, mxcsr, ref raised);
        }

        if (Faults(cpu, raised)) return ref cpu.FloatFault(ref op);
        for (var count = lanes; count > 1; count /= 2)
        {
            raised = 0;
            for (var i = 0; i < terms.Length; i += 2) terms[i / 2] = Exact<FloatLanes.AddFloat, T>(terms[i], terms[i + 1], 0, mxcsr, ref raised);
            terms = terms[..(terms.Length / 2)];
            if (Faults(cpu, raised)) return ref cpu.FloatFault(ref op);
        }

        cpu.SetVector<TForm>(op.A, Spread<T>(terms[0], (uint)op.Imm), TForm.IsWide ? Spread<T>(terms[1], (uint)op.Imm) : default);
        return ref Vcpu.Next(ref op);
    }

    private static Vector128<byte> Spread<T>(ulong sum, uint chosen) where T : unmanaged
    {
        var result = default(Vector128<byte>);
        for (var i = 0; i < Vector128<T>.Count; i++)
        {
            if ((chosen >> i & 1) != 0) result = WithLane<T>(result, i, sum);
        }

        return result;
    }
}
