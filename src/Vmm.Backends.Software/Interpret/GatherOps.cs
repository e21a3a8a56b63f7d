// Intel SDM vol. 2: VPGATHERDD, VPGATHERQD, VPGATHERDQ, VPGATHERQQ, VGATHERDPS and its kin.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Vmm.Backends.Software.Cpu;
using Vmm.Backends.Software.Decode;
using Vmm.Backends.Software.Mmu;

namespace Vmm.Backends.Software.Interpret;

/// <summary>
/// Gathers. A is the destination, B the mask, D the vector of indexes (the binder has taken it out of the memory operand), Extra the
/// number of elements. A fault leaves the elements gathered so far in the destination and out of the mask, so that it goes on there.
/// </summary>
internal static partial class GatherOps
{
    private static ref Op Gather<T, TIndex>(Vcpu cpu, ref Op op) where T : unmanaged where TIndex : unmanaged
    {
        ref var destination = ref cpu.Ymm<T>(op.A);
        ref var mask = ref cpu.Ymm<T>(op.B);
        var chosen = mask.ExtractMostSignificantBits();
        for (var i = 0; i < op.Extra; i++)
        {
            if ((chosen >> i & 1) == 0)
            {
                mask = mask.WithElement(i, default);
                continue;
            }

            var index = typeof(TIndex) == typeof(int) ? cpu.Ymm<int>(op.D).GetElement(i) : cpu.Ymm<long>(op.D).GetElement(i);
            if (!cpu.TryLinear(ref op, Unsafe.SizeOf<T>(), Access.Read, out var linear, (ulong)index << op.Scale)) return ref cpu.Fault(ref op);
            if (!cpu.TryRead<T>(linear, out var element))
            {
                cpu.StackFault(ref op);
                return ref cpu.Fault(ref op);
            }

            destination = destination.WithElement(i, element);
            mask = mask.WithElement(i, default);
        }

        mask = default;
        if (op.Extra * Unsafe.SizeOf<T>() <= 16)
        {
            destination = destination.GetLower().ToVector256();
            if (op.Extra * Unsafe.SizeOf<T>() == 8) cpu.Xmm<ulong>(op.A) = Vector128.CreateScalar(cpu.Xmm<ulong>(op.A).ToScalar());
        }

        return ref Vcpu.Next(ref op);
    }
}
