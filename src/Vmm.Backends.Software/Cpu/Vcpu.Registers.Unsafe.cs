using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Vmm.Backends.Software.Decode;
using Vmm.Core.X86;

namespace Vmm.Backends.Software.Cpu;

/// <summary>Register access for instruction handlers. Offsets come from <see cref="Op"/>, which the decoder fills within bounds.</summary>
internal sealed unsafe partial class Vcpu
{
    /// <summary>Byte offset of the general register slot that is always zero.</summary>
    public const byte ZeroSlot = 128;

    /// <summary>Byte offset of the slot that holds the current block's RIP.</summary>
    public const byte RipSlot = 136;

    private CpuState* _state;

    /// <summary>All state.</summary>
    // SAFETY: _state is allocated by the constructor and freed by Dispose, after the vCPU thread has ended.
    public ref CpuState S
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => ref *_state;
    }

    /// <summary>A general register, or part of one, by byte offset, as the type the instruction works on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref T Reg<T>(byte offset) where T : unmanaged =>
        // SAFETY: Gpr is the first field of the state and offsets are at most 136.
        ref Unsafe.AsRef<T>((byte*)_state + offset);

    /// <summary>A general register by number 0 to 15.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref ulong Gpr(int number) => ref Unsafe.AsRef<ulong>((byte*)_state + (number & 15) * 8);

    /// <summary>Writes a register as instructions do: 32-bit results clear the upper half, narrower ones keep it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void SetReg<T>(byte offset, T value) where T : unmanaged
    {
        if (sizeof(T) == 4) Reg<ulong>(offset) = Unsafe.BitCast<T, uint>(value);
        else Reg<T>(offset) = value;
    }

    /// <summary>An XMM register as a vector of T, by number.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref Vector128<T> Xmm<T>(byte number) where T : unmanaged =>
        ref Unsafe.As<Vector256<ulong>, Vector128<T>>(ref _state->Ymm[number & 15]);

    /// <summary>The upper 128 bits of a YMM register.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref Vector128<T> XmmHigh<T>(byte number) where T : unmanaged => ref Unsafe.Add(ref Xmm<T>(number), 1);

    /// <summary>A YMM register as a vector of T, by number.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref Vector256<T> Ymm<T>(byte number) where T : unmanaged =>
        ref Unsafe.As<Vector256<ulong>, Vector256<T>>(ref _state->Ymm[number & 15]);

    /// <summary>An MMX register: the significand of a physical x87 register.</summary>
    public ref ulong Mmx(byte number) => ref _state->X87.Registers[number & 7].Significand;

    /// <summary>A segment register: 0 ES to 5 GS, 6 LDTR, 7 TR.</summary>
    public ref SegmentState Seg(int number) => ref _state->Seg[number & 7];

    /// <summary>The instruction after this one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ref Op Next(ref Op op) => ref Unsafe.Add(ref op, 1);

    /// <summary>
    /// Goes straight on with the instruction after this one. The call becomes a jump in optimized code if the handler has no
    /// local whose address is taken; elsewhere the stack grows by a frame for each instruction, but not past the block's end,
    /// as every handler that ends a block returns to <see cref="Execute"/>.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref Op Chain(ref Op op)
    {
        ref var next = ref Unsafe.Add(ref op, 1);
        // SAFETY: every block ends with an op that does not chain, so there is a next one.
        return ref ((delegate*<Vcpu, ref Op, ref Op>)next.Handler)(this, ref next);
    }

    /// <summary>Leaves the block chain.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ref Op Leave() => ref Unsafe.NullRef<Op>();

    /// <summary>RIP of an instruction of the current block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ulong RipOf(ref Op op) => Reg<ulong>(RipSlot) + op.Offset;

    /// <summary>RIP after an instruction of the current block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ulong RipAfter(ref Op op) => Reg<ulong>(RipSlot) + op.Offset + op.Length;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Execute(ref Op op)
    {
        while (!Unsafe.IsNullRef(ref op)) op = ref ((delegate*<Vcpu, ref Op, ref Op>)op.Handler)(this, ref op);
    }
}
